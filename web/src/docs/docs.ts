// Swagger UI on the service's own description; its file comes first in docs.html.
declare const SwaggerUIBundle: ((options: object) => void) & { presets: { apis: unknown } };
SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#viewer", deepLinking: true, validatorUrl: null, presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
});
export {};
