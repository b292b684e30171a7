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
  const eventNodes = new Map();
  const announced = new Set();
  const TITLE = document.title;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  }

  /** What has not changed is not touched: screen readers would say it again, open details close. */
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  /** The nodes of `items` in their order; `draw` makes those that are new or whose key is. */
  function keep(list, items, known, keyOf, draw) {
    items.forEach((item, index) => {
      const id = item.item_id ?? item.id;
      const key = keyOf(item);
      const old = known.get(id);
      const node = old && old.key === key ? old.node : draw(item);
      if (old && old.node !== node) old.node.remove();
      known.set(id, { node, key });
      if (list.children[index] !== node) list.insertBefore(node, list.children[index] || null);
    });
  }

  // --- Head and notes -------------------------------------------------------------------------
  function drawHead() {
    const status = byId("status");
    say(status, feed.status_label);
    status.className = `pill ${feed.tone}`;
    document.title = feed.is_live ? `${feed.status_label}: ${TITLE}` : TITLE;
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
    if (!feed.answered_at) {
      byId("timer").textContent = "";
    } else if (feed.duration_s !== null && !feed.is_live) {
      byId("timer").textContent = clock(feed.duration_s);
    } else {
      const end = feed.ended_at ? Date.parse(feed.ended_at) : Date.now() - page.clock_skew_ms;
      byId("timer").textContent = clock((end - Date.parse(feed.answered_at)) / 1000);
    }
  }

  function note(tone, heading, lines, links = []) {
    const node = make("div", `note ${tone}`);
    if (heading) node.append(make("strong", "", heading));
    for (const line of lines.filter(Boolean)) node.append(make("p", "", line));
    if (links.length) {
      const foot = make("p", "note-links small");
      foot.append(...links);
      node.append(foot);
    }
    return node;
  }

  function link(text, url) {
    const anchor = make("a", "", text);
    anchor.href = url;
    return anchor;
  }

  function outwardLink(text, url) {
    const anchor = link(text, url);
    anchor.rel = "noreferrer";
    anchor.target = "_blank";
    return anchor;
  }

  function errorNote({ title: heading, detail, what_to_do, code, link: source }) {
    const links = [];
    if (page.urls.recipient) links.push(link("Open the recipient", page.urls.recipient));
    if (source) links.push(outwardLink("What Twilio says about it", source));
    return note("error", heading, [detail, what_to_do, code && `Code: ${code}`], links);
  }

  let notesDrawn = "";
  function drawNotes() {
    const key = JSON.stringify([feed.hints, feed.error]);
    if (key === notesDrawn) return;
    notesDrawn = key;
    const notes = feed.hints.map((text) => note("info", "", [text]));
    if (feed.error) notes.unshift(errorNote(feed.error));
    byId("notes").replaceChildren(...notes);
  }

  // --- Conversation ---------------------------------------------------------------------------
  const isAgent = (turn) => turn.speaker === "agent";
  const nameOf = (turn) => (isAgent(turn) ? page.names.agent : page.names.person);
  const isPartial = (turn) => !turn.is_final && feed.is_live;

  function isPartlyUnheard(turn) {
    // Characters as the server counts them: code points, not UTF-16 units.
    return isAgent(turn) && turn.heard_chars !== null && turn.heard_chars < Array.from(turn.text).length;
  }

  function turnText(turn) {
    const text = make("div", "turn-text");
    if (!turn.text) {
      const gap = isPartial(turn) ? make("span", "unseen", "speaking") : make("i", "soft", "no transcript");
      text.append(gap);
    } else if (isPartlyUnheard(turn)) {
      const letters = Array.from(turn.text);
      const unheard = make("s", "", letters.slice(turn.heard_chars).join(""));
      unheard.title = "generated, never heard";
      text.append(letters.slice(0, turn.heard_chars).join(""), make("span", "unseen", " (not heard:) "), unheard);
    } else {
      text.textContent = turn.text;
    }
    return text;
  }

  function latencyChip(turn) {
    const ms = turn.latency_heard_ms ?? turn.latency_sent_ms;
    if (ms === null) return [];
    const chip = make("span", ms > SLOW_ANSWER_MS ? "chip slow" : "chip");
    chip.textContent = `answered in ${(ms / 1000).toFixed(1)} s`;
    const part = (value) => (value === null ? "?" : `${(value / 1000).toFixed(2)} s`);
    chip.title =
      "From the end of the person's speech: first audio sent after " +
      `${part(turn.latency_sent_ms)}, heard after ${part(turn.latency_heard_ms)}`;
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
    node.classList.toggle("partial", isPartial(turn));
    node.classList.toggle("can-seek", player !== null);
    const text = turnText(turn);
    text.addEventListener("click", () => player && player.seek(turn.started_ms / 1000));
    node.append(turnHead(turn), text);
    return node;
  }

  function drawTurns() {
    const list = byId("turns");
    const follows = feed.is_live && drawn && lastIsInView(list);
    const key = (turn) => JSON.stringify([turn, feed.is_live, player !== null]);
    keep(list, feed.turns, turnNodes, key, drawTurn);
    feed.turns.forEach(announce);
    list.hidden = feed.turns.length === 0;
    byId("no-turns").hidden = feed.turns.length > 0;
    say(byId("no-turns"), feed.nothing_said);
    byId("unheard-note").hidden = !feed.turns.some(isPartlyUnheard);
    if (follows && feed.turns.length) list.lastElementChild.scrollIntoView({ block: "nearest" });
  }

  /** Whether the reader is where the conversation is: who has scrolled away stays undisturbed. */
  function lastIsInView(list) {
    if (!list.lastElementChild) return true;
    const { top, bottom } = list.lastElementChild.getBoundingClientRect();
    return bottom > 0 && top < window.innerHeight;
  }

  /** Read out each finished sentence once; not what was there when the page was opened. */
  function announce(turn) {
    if (!turn.is_final || announced.has(turn.item_id)) return;
    announced.add(turn.item_id);
    const heard = isAgent(turn) && turn.heard_chars !== null ? turn.heard_chars : Infinity;
    const text = Array.from(turn.text).slice(0, heard).join("");
    if (endedSeenAt === null && drawn && text) {
      byId("announcer").append(make("p", "", `${nameOf(turn)}: ${text}`));
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
      ...feed.facts.flatMap(([name, value]) => [
        make("dt", "", name),
        make("dd", /\s/.test(value) || value.length < 24 ? "" : "code", value),
      ]),
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
    keep(byId("timeline"), feed.events, eventNodes, JSON.stringify, drawEvent);
  }

  function drawEvent(event) {
    const node = make("li", event.tone);
    const at = make("time", "", event.time);
    at.dateTime = event.at;
    at.title = event.at;
    const story = make(event.data ? "details" : "div", "event");
    const text = make(event.data ? "summary" : "span", "", event.text);
    if (event.data) text.title = "Show what was reported";
    if (event.note) text.append(make("span", "event-note", event.note));
    story.append(text);
    if (event.data) story.append(make("pre", "", event.data));
    node.append(at, story);
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
      byId("recording-state").textContent = "Space plays, arrow keys move, click a sentence to hear it";
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

  function onKey(event) {
    const busy = event.target.closest("button, a, input, select, textarea, summary");
    if (player && !busy && player.press(event)) event.preventDefault();
  }

  page.clock_skew_ms = Date.now() - Date.parse(page.now);
  draw();
  setInterval(drawTimer, 500);
  document.addEventListener("keydown", onKey);
  if (page.may_call) {
    byId("hang-up").addEventListener("submit", (event) => {
      event.target.querySelector("button").disabled = true;
    });
  }
  ask().finally(keepAsking);
  openSocket();
})();
