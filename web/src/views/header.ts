// The head of the page: which model answers, and the theme.
import { html, nothing, type TemplateResult } from "lit-html";
import { backend } from "#backend";
import { chooseModel, loadModels } from "../asking";
import { chooseTheme, currentTheme } from "../pictures/colours";
import { showOwnSample } from "../pictures/files";
import { update, type State } from "../state";
import { placeInUrl } from "../url";
import { icon } from "./icons";

export function headerView({ models, model, needsKey }: State): TemplateResult {
  const theme = currentTheme();
  const other = theme === "dark" ? "light" : "dark";
  const chosen = model ? `${model.name}/${model.version}` : "";
  return html`
    <span class="model-switch"><select aria-label="Model" @change=${(event: Event) => {
        const found = models.find(({ name, version }) => `${name}/${version}` === (event.target as HTMLSelectElement).value);
        if (!found) return;
        void chooseModel(found);
        void showOwnSample();
      }} ?disabled=${!models.length}>
        ${models.length ? nothing : html`<option>no model yet</option>`}
        ${models.map(({ name, version }) => html`<option value="${name}/${version}" ?selected=${`${name}/${version}` === chosen}>${name} v${version}</option>`)}
      </select></span>
    <button type="button" class="quiet icon-only" aria-label="Use the ${other} theme" title="Use the ${other} theme"
      @click=${() => { chooseTheme(other); update({}); }}>${icon(theme === "dark" ? "sun" : "moon")}</button>
    ${needsKey ? keyForm() : nothing}`;
}

/** The key is kept while the page is open, and nowhere else. */
const keyForm = (): TemplateResult => html`<form class="key" @submit=${(event: SubmitEvent) => {
  event.preventDefault();
  backend.setApiKey?.(new FormData(event.target as HTMLFormElement).get("key") as string);
  const { model, version } = placeInUrl();
  void loadModels(model, version).then(showOwnSample);
}}>
  <label>This service asks for an API key<input name="key" type="password" autocomplete="off" required /></label>
  <button type="submit" class="primary">Use it</button>
</form>`;
