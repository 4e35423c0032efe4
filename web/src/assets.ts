// The page's own files lie beside its script, wherever that is served.
export const assetUrl = (path: string): string => new URL(path, import.meta.url).href;
