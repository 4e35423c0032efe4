Redoc.init("/openapi.json",{hideLogo:!0,disableSearch:!0,theme:{typography:{fontFamily:"Inter, sans-serif",headings:{fontFamily:"Inter, sans-serif"}}}},document.querySelector("#viewer"));
