// The page's colours, read from its style sheet so that pictures follow the theme.
export interface Colours { ink: string; paper: string; faint: string; for: string; against: string; accent: string }

const NAMES = { ink: "--map-ink", paper: "--map-paper", faint: "--map-faint", for: "--for", against: "--against", accent: "--mark" } as const;

export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(Object.entries(NAMES).map(([name, variable]) => [name, style.getPropertyValue(variable).trim()])) as unknown as Colours;
}

const listeners = new Set<() => void>();
/** Calls back when the theme changes; returns what ends that. */
export function onThemeChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export type Theme = "light" | "dark";
const KEY = "whitebox-theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

export const currentTheme = (): Theme =>
  (document.documentElement.dataset["theme"] as Theme | undefined) ?? (prefersDark.matches ? "dark" : "light");

export function chooseTheme(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
  localStorage.setItem(KEY, theme);
  listeners.forEach((listener) => listener());
}

export function restoreTheme(): void {
  const kept = localStorage.getItem(KEY);
  if (kept === "light" || kept === "dark") document.documentElement.dataset["theme"] = kept;
  prefersDark.addEventListener("change", () => listeners.forEach((listener) => listener()));
}
