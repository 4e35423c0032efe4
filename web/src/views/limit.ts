// What the one who answers does less well than the service: said where it matters.
import { html, nothing, type TemplateResult } from "lit-html";

export const limit = (words: string | undefined): TemplateResult | typeof nothing => (words ? html`<p class="limit">${words}</p>` : nothing);
