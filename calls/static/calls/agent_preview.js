"use strict";
// Shows what the agent will be told about a chosen recipient, while the instructions are written.
document.addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("agent-preview");
  const chosen = document.getElementById("preview-recipient");
  if (!root || !chosen) return;
  const form = root.closest("form");
  const text = document.getElementById("preview-text");
  const problems = document.getElementById("preview-problems");
  const PAUSE_MS = 400;
  const FIELDS = ["name", "language", "instructions", "variables"];
  let timer = null;
  let latest = 0;

  function show(answer) {
    text.textContent = answer.text || "";
    text.hidden = !answer.text;
    problems.hidden = !answer.problems.length;
    problems.replaceChildren(
      ...answer.problems.map((problem) => {
        const item = document.createElement("li");
        item.textContent = problem;
        return item;
      }),
    );
  }

  async function ask() {
    latest += 1;
    const mine = latest;
    const body = new FormData();
    for (const name of FIELDS) body.append(name, form.elements[name]?.value ?? "");
    body.append("recipient", chosen.value);
    body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    try {
      const response = await fetch(root.dataset.url, {
        method: "POST",
        body,
        credentials: "same-origin",
        signal: AbortSignal.timeout(8000),
      });
      const answer = await response.json();
      if (mine === latest) show(answer);
    } catch {
      if (mine === latest) show({ problems: ["The preview could not be loaded."] });
    }
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE_MS);
  }

  form.addEventListener("input", (event) => FIELDS.includes(event.target.name) && soon());
  chosen.addEventListener("change", ask);
  ask();
});
