// Swagger UI is dark where its root has a class of its own; everything else here follows data-theme and the system.
"use strict";
{
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = document.documentElement.dataset.theme;
  const follow = () => {
    document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme !== "light" && system.matches));
  };
  system.addEventListener("change", follow);
  follow();
}
