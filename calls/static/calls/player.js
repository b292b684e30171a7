"use strict";
// Plays a call: one lane per voice, drawn from the server's peaks. Click or drag to seek; arrows too.
class CallPlayer {
  static SPEEDS = [1, 1.25, 1.5, 2];
  static STEP_S = 5;

  /** `peaks` is {left: [0..100], right: [0..100]}; `onTime(seconds)` follows playing and seeking. */
  constructor(root, { url, durationS, peaks, names, onTime }) {
    this.peaks = peaks;
    this.durationS = durationS;
    this.onTime = onTime;
    this.audio = new Audio();
    this.audio.preload = "metadata";
    this.audio.src = url;
    root.replaceChildren(this.#waves(names), this.#bar());
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(this.waves);
    document.addEventListener("themechange", () => this.#draw());
  }

  toggle() {
    if (this.audio.paused) this.audio.play().catch((error) => this.#failed(error.message));
    else this.audio.pause();
  }

  seek(seconds) {
    this.audio.currentTime = Math.max(0, Math.min(seconds, this.#duration()));
    this.#moved();
  }

  /** Act on a key; return whether it meant anything. With Alt and the like it is the browser's. */
  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    const act = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.seek(this.audio.currentTime - CallPlayer.STEP_S),
      ArrowRight: () => this.seek(this.audio.currentTime + CallPlayer.STEP_S),
    }[event.key];
    if (act) act();
    return Boolean(act);
  }

  #duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : this.durationS;
  }

  #waves(names) {
    this.waves = document.createElement("div");
    this.waves.className = "waves";
    this.waves.tabIndex = 0;
    this.waves.setAttribute("role", "slider");
    this.waves.setAttribute("aria-label", "Position in the recording");
    this.waves.setAttribute("aria-valuemin", "0");
    this.lanes = [
      ["left", "person", names.person],
      ["right", "agent", names.agent],
    ].map(([channel, speaker, name]) => {
      const lane = document.createElement("div");
      lane.className = `lane ${speaker}`;
      const label = document.createElement("span");
      label.textContent = name;
      const canvas = document.createElement("canvas");
      lane.append(label, canvas);
      this.waves.append(lane);
      return { canvas, peaks: this.peaks[channel] || [], speaker };
    });
    return this.waves;
  }

  #bar() {
    const bar = document.createElement("div");
    bar.className = "player-bar";
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "button";
    this.button.textContent = "Play";
    this.time = document.createElement("span");
    this.time.className = "player-time";
    const speed = document.createElement("select");
    speed.setAttribute("aria-label", "Speed");
    for (const value of CallPlayer.SPEEDS) speed.add(new Option(`${value}×`, value));
    speed.addEventListener("change", () => (this.audio.playbackRate = Number(speed.value)));
    this.problem = document.createElement("span");
    this.problem.className = "soft small";
    const save = document.createElement("a");
    save.className = "button quiet";
    save.href = `${this.audio.src}?download`;
    save.textContent = "Download";
    bar.append(this.button, this.time, this.problem, save, speed);
    return bar;
  }

  #listen() {
    this.button.addEventListener("click", () => this.toggle());
    this.audio.addEventListener("play", () => {
      this.button.textContent = "Pause";
      this.#follow();
    });
    this.audio.addEventListener("pause", () => (this.button.textContent = "Play"));
    this.audio.addEventListener("error", () => this.#failed("The recording cannot be played."));
    for (const name of ["timeupdate", "seeked", "loadedmetadata", "ended"]) {
      this.audio.addEventListener(name, () => this.#moved());
    }
    this.waves.addEventListener("pointerdown", (event) => {
      this.waves.setPointerCapture(event.pointerId);
      this.#seekTo(event);
    });
    this.waves.addEventListener("pointermove", (event) => {
      if (this.waves.hasPointerCapture(event.pointerId)) this.#seekTo(event);
    });
  }

  #seekTo(event) {
    const box = this.lanes[0].canvas.getBoundingClientRect();
    this.seek(((event.clientX - box.left) / box.width) * this.#duration());
  }

  #follow() {
    this.#moved();
    if (!this.audio.paused) requestAnimationFrame(() => this.#follow());
  }

  #moved() {
    const now = this.audio.currentTime;
    const total = this.#duration();
    const text = `${clock(now)} / ${clock(total)}`;
    this.time.textContent = text;
    this.waves.setAttribute("aria-valuemax", Math.round(total));
    this.waves.setAttribute("aria-valuenow", Math.round(now));
    this.waves.setAttribute("aria-valuetext", text);
    this.#draw();
    this.onTime(now);
  }

  #failed(text) {
    this.problem.textContent = text;
  }

  #draw() {
    const style = getComputedStyle(document.documentElement);
    const share = this.#duration() ? this.audio.currentTime / this.#duration() : 0;
    for (const lane of this.lanes) this.#drawLane(lane, share, style);
  }

  #drawLane({ canvas, peaks, speaker }, share, style) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const brush = canvas.getContext("2d");
    brush.scale(ratio, ratio);
    const bars = Math.floor(width / 3);
    const loudest = Math.max(1, ...peaks);
    for (let bar = 0; bar < bars; bar += 1) {
      const from = Math.floor((bar / bars) * peaks.length);
      const to = Math.max(from + 1, Math.floor(((bar + 1) / bars) * peaks.length));
      const level = Math.max(0, ...peaks.slice(from, to)) / loudest;
      const tall = Math.max(2, level * (height - 8));
      const played = (bar + 0.5) / bars <= share;
      brush.fillStyle = style.getPropertyValue(`--${speaker}`);
      brush.globalAlpha = played ? 1 : 0.38;
      brush.fillRect(bar * 3, (height - tall) / 2, 2, tall);
    }
    brush.globalAlpha = 1;
    brush.fillStyle = style.getPropertyValue("--ink");
    brush.fillRect(Math.min(width - 1.5, share * width), 0, 1.5, height);
  }
}

/** Seconds as 1:05. */
function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
