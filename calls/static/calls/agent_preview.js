"use strict";
// Shows what the agent will be told about a chosen recipient, while the instructions are written.
document.addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("agent-preview");
  const chosen = document.getElementById("preview-recipient");
  const form = root && root.closest("form");
  const instructions = form && form.elements.instructions;
  // Beside what it depends on, instead of below the whole form.
  const row = instructions && instructions.closest(".form-row");
  if (row) row.after(root);
  if (!chosen || !instructions) return;
  const byId = (id) => document.getElementById(id);
  const PAUSE_MS = 400;
  const DEADLINE_MS = 8000;
  const FIELDS = ["name", "language", "instructions", "variables", "opening", "opening_text", "tools"];
  let latest = 0;

  function show({ problems, text = "", rules = "", first_words = "" }) {
    byId("preview-text").textContent = text;
    byId("preview-text").hidden = !text;
    byId("preview-rules").textContent = rules;
    byId("preview-more").hidden = !rules;
    showRules(byId("preview-more").getAttribute("aria-expanded") === "true");
    byId("preview-first-words").textContent = first_words;
    byId("preview-first").hidden = !first_words;
    byId("preview-problems").hidden = !problems.length;
    byId("preview-problems").replaceChildren(
      ...problems.map((problem) => {
        const item = document.createElement("li");
        item.textContent = problem;
        return item;
      }),
    );
  }

  function showRules(open) {
    byId("preview-more").setAttribute("aria-expanded", open);
    byId("preview-rules").hidden = !open || !byId("preview-rules").textContent;
  }

  async function getJson(url, options = {}) {
    const response = await fetch(url, {
      credentials: "same-origin",
      signal: AbortSignal.timeout(DEADLINE_MS),
      ...options,
    });
    return response.json();
  }

  async function ask() {
    latest += 1;
    const mine = latest;
    const typed = new FormData(form);
    const body = new FormData();
    for (const name of FIELDS) {
      for (const value of typed.getAll(name)) body.append(name, value);
    }
    body.append("recipient", chosen.value);
    body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    try {
      const answer = await getJson(root.dataset.url, { method: "POST", body });
      if (mine === latest) show(answer);
    } catch {
      if (mine === latest) show({ problems: ["The preview could not be loaded."] });
    }
  }

  let searches = 0;
  async function search(text) {
    searches += 1;
    const mine = searches;
    try {
      const query = new URLSearchParams({ q: text });
      const { recipients } = await getJson(`${root.dataset.searchUrl}?${query}`);
      if (mine !== searches || !recipients.length) return;
      chosen.replaceChildren(...recipients.map(({ id, label }) => new Option(label, id)));
      ask();
    } catch {
      show({ problems: ["The recipients could not be searched."] });
    }
  }

  /** Wait for a pause in the typing. */
  function calmly(act) {
    let timer = null;
    return (...args) => {
      clearTimeout(timer);
      timer = setTimeout(act, PAUSE_MS, ...args);
    };
  }

  const soon = calmly(ask);
  form.addEventListener("input", (event) => FIELDS.includes(event.target.name) && soon());
  form.addEventListener("change", (event) => FIELDS.includes(event.target.name) && soon());
  chosen.addEventListener("change", ask);
  byId("preview-more").addEventListener("click", () => showRules(byId("preview-rules").hidden));
  const finder = byId("preview-search");
  if (finder) {
    const searchSoon = calmly(search);
    finder.addEventListener("input", () => searchSoon(finder.value));
    // Enter would save the agent.
    finder.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  }
  ask();
});
