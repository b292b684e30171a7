"use strict";
// One click, one request. The server keeps the same promise: this only spares people the wait.
(() => {
  const choose = document.getElementById("choose-agent");
  if (choose) {
    choose.querySelector("[data-only-without-script]").hidden = true;
    choose.querySelector("select").addEventListener("change", () => choose.submit());
  }
  const place = document.getElementById("place-calls");
  if (place) {
    place.addEventListener("submit", () => {
      // After this tick, so that the form itself is still sent.
      setTimeout(() => {
        place.querySelector("button").disabled = true;
      });
    });
  }
  // Coming back with the browser's "back" must not show a dead button.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
})();
