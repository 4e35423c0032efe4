// ReDoc on the service's own description; its file comes first in redoc.html.
declare const Redoc: { init: (url: string, options: object, element: Element | null) => void };
Redoc.init("/openapi.json", { hideLogo: true, disableSearch: true, theme: { typography: { fontFamily: "Inter, sans-serif", headings: { fontFamily: "Inter, sans-serif" } } } }, document.querySelector("#viewer"));
export {};
