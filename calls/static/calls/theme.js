"use strict";
// The admin keeps the chosen theme in localStorage; pages without its scripts follow it here.
(() => {
  const KEY = "adminTheme";
  const NAMES = { auto: "System", light: "Light", dark: "Dark" };
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      const value = JSON.parse(localStorage.getItem(KEY));
      return value in NAMES ? value : "auto";
    } catch {
      return "auto";
    }
  }

  function apply() {
    const theme = chosen();
    const dark = theme === "dark" || (theme === "auto" && system.matches);
    document.documentElement.classList.toggle("dark", dark);
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.textContent = `Theme: ${NAMES[theme]}`;
      button.hidden = false;
    }
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", (event) => event.key === KEY && apply());
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.addEventListener("click", () => {
        const names = Object.keys(NAMES);
        const next = names[(names.indexOf(chosen()) + 1) % names.length];
        try {
          localStorage.setItem(KEY, JSON.stringify(next));
        } catch {
          return; // storage is forbidden: the system's theme stays
        }
        apply();
      });
    }
  });
})();
