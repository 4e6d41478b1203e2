// Light or dark, before the page is drawn: this is no module, so that nothing is seen in the wrong colours first.
// Without a choice the system's holds. base.css knows data-theme.
"use strict";

const theme = {
  key: "baichuan.theme",

  // chosen is "light", "dark", or "" for what the system says.
  get chosen() {
    try {
      const kept = localStorage.getItem(theme.key);
      return kept === "light" || kept === "dark" ? kept : "";
    } catch {
      return ""; // a browser may keep nothing
    }
  },

  get isDark() {
    return theme.chosen ? theme.chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },

  // turn changes to the other one, which is forgotten if it is the system's.
  turn() {
    const want = theme.isDark ? "light" : "dark";
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    try {
      if (want === system) localStorage.removeItem(theme.key);
      else localStorage.setItem(theme.key, want);
    } catch {
      // then it holds until the page is left
    }
    document.documentElement.dataset.theme = want;
  },
};

if (theme.chosen) document.documentElement.dataset.theme = theme.chosen;
window.baichuanTheme = theme;
