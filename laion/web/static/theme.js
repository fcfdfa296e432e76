// Dark or light: the system's setting, unless the visitor has chosen; the choice is remembered.

import { recall, remember } from "/static/storage.js";

const KEY = "theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export function watchTheme(button) {
  const root = document.documentElement;
  const chosen = recall(KEY);
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember(KEY, root.dataset.theme);
  });
}
