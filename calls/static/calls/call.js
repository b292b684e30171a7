"use strict";
// A call's page: draws the feed, asks for what is newer, and lets a socket hurry it up.
// Everything that people or models said goes through textContent: never parsed as HTML.
(() => {
  const page = JSON.parse(document.getElementById("call-data").textContent);
  const byId = (id) => document.getElementById(id);
  const LIVE_POLL_MS = 1000;
  const ENDED_POLL_MS = 5000;
  const REQUEST_DEADLINE_MS = 8000;
  const SOCKET_RETRY_MS = 3000;
  // Costs and the recording arrive within minutes; afterwards nothing changes any more.
  const QUIET_AFTER_END_MS = 15 * 60 * 1000;
  const SLOW_ANSWER_MS = 2000;

  let feed = page.feed;
  let player = null;
  let asking = false;
  let askAgain = false;
  let recordingDone = !page.may_listen;
  let endedSeenAt = null;
  let failures = 0;
  const turnNodes = new Map();
  const announced = new Set();

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  }

  // --- Head and notes -------------------------------------------------------------------------
  function drawHead() {
    const status = byId("status");
    status.textContent = feed.status_label;
    status.className = `pill ${feed.tone}`;
    document.body.classList.toggle("is-live", feed.is_live && page.may_call);
    if (page.may_call) {
      byId("hang-up").hidden = !feed.is_live;
      byId("call-again").hidden = feed.is_live;
      const button = byId("hang-up").querySelector("button");
      button.disabled = feed.hang_up_requested;
      button.textContent = feed.hang_up_label;
    }
  }

  function drawTimer() {
    if (feed.duration_s !== null && !feed.is_live) {
      byId("timer").textContent = clock(feed.duration_s);
    } else if (feed.answered_at) {
      const end = feed.ended_at ? Date.parse(feed.ended_at) : Date.now() - page.clock_skew_ms;
      byId("timer").textContent = clock((end - Date.parse(feed.answered_at)) / 1000);
    } else {
      byId("timer").textContent = "";
    }
  }

  function note(tone, title, lines, link) {
    const node = make("div", `note ${tone}`);
    if (title) node.append(make("strong", "", title));
    for (const line of lines.filter(Boolean)) node.append(make("p", "", line));
    if (link) {
      const anchor = make("a", "small", "What Twilio says about it");
      anchor.href = link;
      anchor.rel = "noreferrer";
      anchor.target = "_blank";
      node.append(anchor);
    }
    return node;
  }

  function drawNotes() {
    const notes = feed.hints.map((text) => note("info", "", [text]));
    if (feed.error) {
      const { title, detail, what_to_do, code, link } = feed.error;
      notes.unshift(note("error", title, [detail, what_to_do, code && `Code: ${code}`], link));
    }
    byId("notes").replaceChildren(...notes);
  }

  // --- Conversation ---------------------------------------------------------------------------
  const isAgent = (turn) => turn.speaker === "agent";
  const nameOf = (turn) => (isAgent(turn) ? page.names.agent : page.names.person);

  function turnText(turn) {
    const text = make("div", "turn-text");
    const heard = turn.heard_chars;
    // Characters as the server counts them: code points, not UTF-16 units.
    const letters = Array.from(turn.text);
    if (!isAgent(turn) || heard === null || heard >= letters.length) {
      text.textContent = turn.text || "…";
      return text;
    }
    text.append(letters.slice(0, heard).join(""));
    const unheard = make("s", "", letters.slice(heard).join(""));
    unheard.title = "generated, never heard";
    text.append(unheard);
    return text;
  }

  function latencyChip(turn) {
    const ms = turn.latency_heard_ms ?? turn.latency_sent_ms;
    if (ms === null) return [];
    const chip = make("span", ms > SLOW_ANSWER_MS ? "chip slow" : "chip", `${(ms / 1000).toFixed(1)} s`);
    const part = (value) => (value === null ? "?" : `${(value / 1000).toFixed(2)} s`);
    chip.title =
      "From the end of the person's speech: first audio sent after " +
      `${part(turn.latency_sent_ms)}, heard after ${part(turn.latency_heard_ms)}`;
    chip.prepend(make("span", "unseen", "answered after "));
    return [chip];
  }

  function turnHead(turn) {
    const head = make("div", "turn-head");
    const at = make(player ? "button" : "span", "turn-at", clock(turn.started_ms / 1000));
    if (player) {
      at.type = "button";
      at.title = "Play from here";
      at.addEventListener("click", () => player.seek(turn.started_ms / 1000));
    }
    head.append(make("span", "turn-name", nameOf(turn)), at);
    if (isAgent(turn)) head.append(...latencyChip(turn));
    if (turn.interrupted) head.append(make("span", "chip", "interrupted"));
    return head;
  }

  function drawTurn(turn) {
    const node = make("li", `turn ${isAgent(turn) ? "agent" : "person"}`);
    node.dataset.item = turn.item_id;
    node.classList.toggle("partial", !turn.is_final && feed.is_live);
    node.classList.toggle("can-seek", player !== null);
    const text = turnText(turn);
    text.addEventListener("click", () => player && player.seek(turn.started_ms / 1000));
    node.append(turnHead(turn), text);
    return node;
  }

  function drawTurns() {
    const list = byId("turns");
    const wasAtEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 120;
    const key = (turn) => JSON.stringify([turn, feed.is_live, player !== null]);
    feed.turns.forEach((turn, index) => {
      const known = turnNodes.get(turn.item_id);
      const node = known && known.key === key(turn) ? known.node : drawTurn(turn);
      if (known && known.node !== node) known.node.remove();
      turnNodes.set(turn.item_id, { node, key: key(turn) });
      if (list.children[index] !== node) list.insertBefore(node, list.children[index] || null);
      announce(turn);
    });
    list.hidden = feed.turns.length === 0;
    byId("no-turns").hidden = feed.turns.length > 0;
    byId("no-turns").textContent = feed.nothing_said;
    if (feed.is_live && wasAtEnd && feed.turns.length) {
      list.lastElementChild.scrollIntoView({ block: "nearest" });
    }
  }

  /** Read out each finished sentence once; not what was there when the page was opened. */
  function announce(turn) {
    if (!turn.is_final || announced.has(turn.item_id)) return;
    announced.add(turn.item_id);
    if (endedSeenAt === null && drawn) {
      byId("announcer").append(make("p", "", `${nameOf(turn)}: ${turn.text}`));
    }
  }

  function highlight(seconds) {
    const ms = seconds * 1000;
    const current = ms > 0 ? feed.turns.findLast((turn) => turn.started_ms <= ms) : null;
    const over = current && current.ended_ms !== null && ms > current.ended_ms + 300;
    for (const [item, { node }] of turnNodes) {
      node.classList.toggle("playing", Boolean(current) && !over && item === current.item_id);
    }
  }

  // --- Side -----------------------------------------------------------------------------------
  function drawFacts() {
    byId("facts").replaceChildren(
      ...feed.facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]),
    );
  }

  function drawCosts() {
    const rows = feed.cost.lines.map((line) => {
      const row = make("tr");
      const what = make("td", "", line.part);
      what.append(make("span", "basis", `${line.quantity} · ${line.basis_label}`));
      row.append(what, make("td", "", line.amount));
      return row;
    });
    const foot = make("tfoot");
    for (const [name, amount] of feed.cost.totals) {
      const row = make("tr");
      row.append(make("td", "", name), make("td", "", amount));
      foot.append(row);
    }
    const body = make("tbody");
    body.append(...rows);
    byId("costs").replaceChildren(...(rows.length ? [body, foot] : []));
    byId("no-costs").textContent = feed.cost.note;
  }

  function drawTimeline() {
    byId("timeline").replaceChildren(...feed.events.map(drawEvent));
  }

  function drawEvent(event) {
    const node = make("li", event.tone);
    const at = make("time", "", event.time);
    at.dateTime = event.at;
    at.title = event.at;
    node.append(at, make("span", "", event.text));
    if (event.note) node.append(make("div", "event-note", event.note));
    if (event.data) {
      const details = make("details");
      details.append(make("summary", "", "Details"), make("pre", "", event.data));
      node.append(details);
    }
    return node;
  }

  // --- Recording ------------------------------------------------------------------------------
  async function lookForRecording() {
    if (recordingDone || feed.is_live || !feed.answered_at) return;
    const info = await getJson(page.urls.recording);
    if (!info) return;
    byId("recording").hidden = false;
    if (info.status === "ready" && info.url) {
      recordingDone = true;
      byId("recording-state").textContent = "Space plays, arrows move, click a sentence to hear it";
      player = new CallPlayer(byId("player"), {
        url: info.url,
        durationS: (info.duration_ms || 0) / 1000,
        peaks: info.peaks || {},
        names: { person: "Person", agent: "Agent" },
        onTime: highlight,
      });
      drawTurns();
      return;
    }
    recordingDone = ["absent", "rejected", "failed"].includes(info.status);
    byId("player").replaceChildren(make("p", "empty", info.problem || info.status_label || info.status));
  }

  // --- Asking ---------------------------------------------------------------------------------
  async function getJson(url) {
    try {
      const response = await fetch(url, {
        headers: { Accept: "application/json" },
        credentials: "same-origin",
        signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
      });
      if (response.redirected || response.status === 403) {
        location.reload(); // signed out, or no longer allowed: the server says so
        return null;
      }
      failures = response.ok ? 0 : failures + 1;
      return response.ok ? await response.json() : null;
    } catch {
      failures += 1;
      return null;
    }
  }

  async function ask() {
    if (asking) {
      askAgain = true;
      return;
    }
    asking = true;
    do {
      askAgain = false;
      const answer = await getJson(`${page.urls.feed}?after=${feed.revision}`);
      if (answer && answer.revision > feed.revision) {
        feed = answer;
        draw();
      }
    } while (askAgain);
    await lookForRecording();
    asking = false;
    byId("transcript-state").textContent =
      failures > 2 ? "No connection to the server: trying again" : feed.is_live ? "Live" : "";
  }

  let drawn = false;
  function draw() {
    drawHead();
    drawNotes();
    drawTurns();
    drawFacts();
    drawCosts();
    drawTimeline();
    drawTimer();
    drawn = true;
    if (!feed.is_live && endedSeenAt === null) endedSeenAt = Date.now();
  }

  function keepAsking() {
    const over = endedSeenAt !== null && Date.now() - endedSeenAt > QUIET_AFTER_END_MS;
    if (over) return;
    const pace = feed.is_live || !recordingDone ? LIVE_POLL_MS : ENDED_POLL_MS;
    setTimeout(() => ask().finally(keepAsking), pace);
  }

  function openSocket() {
    if (!feed.is_live) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${page.urls.socket}`);
    socket.addEventListener("message", ask);
    socket.addEventListener("close", () => setTimeout(openSocket, SOCKET_RETRY_MS));
  }

  function onSpace(event) {
    const busy = event.target.closest("button, a, input, select, textarea, summary");
    if (event.key !== " " || busy || !player) return;
    event.preventDefault();
    player.toggle();
  }

  page.clock_skew_ms = Date.now() - Date.parse(page.now);
  draw();
  setInterval(drawTimer, 500);
  document.addEventListener("keydown", onSpace);
  if (page.may_call) {
    byId("hang-up").addEventListener("submit", (event) => {
      event.target.querySelector("button").disabled = true;
    });
  }
  ask().finally(keepAsking);
  openSocket();
})();
