SwaggerUIBundle({url:"/openapi.json",dom_id:"#viewer",deepLinking:!0,validatorUrl:null,presets:[SwaggerUIBundle.presets.apis],layout:"BaseLayout"});
