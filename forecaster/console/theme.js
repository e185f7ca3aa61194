// Runs before anything is painted: the reader's own choice of light or dark, where there is one.
// (A plain script, not a module: modules run after the first paint.)
"use strict";
try {
  const chosen = localStorage.getItem("cloudpulse.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* no storage: the system's choice holds */ }
