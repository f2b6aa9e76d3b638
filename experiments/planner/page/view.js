// An answer on the page. An answer of the engine has the same fields as one that was looked up.

const STREAM_NAMES = { compute: "compute", h2d: "upload", d2h: "download", peer: "card to card", host: "host", nvme_read: "drive, read", nvme_write: "drive, write" };
const ROW = 24;
const NAME_WIDTH = 86;
const AMOUNT_WIDTH = 118;

function showAnswer(answer, state, advice) {
  byId("sentence").textContent = sentence(answer);
  byId("sentence").className = answer.fits ? "" : "no";
  byId("figures").textContent = figures(answer);
  byId("source").textContent = sourceWords(answer);
  byId("source").className = ["between", "scaled", "mixed"].includes(answer.source) ? "approximate" : "";
  byId("memory").replaceChildren(memoryBars(answer, state));
  byId("strip").replaceChildren(strip(answer));
  byId("binds").textContent = bindsWords(answer);
  showFront(answer);
  byId("changes").replaceChildren(changesTable(answer, advice));
  byId("trust").replaceChildren(trustList(answer));
  byId("command").replaceChildren(...unbroken(commandOf(state, answer)));
  byId("copied").textContent = state.link === 1 ? "" : "With the machine\u2019s own link: plan has no flag for another rate.";
}

/** Words between which a line may end: not after the hyphens of a flag. */
function unbroken(command) {
  return command.split(" ").flatMap((word, i) => [i ? " " : "", element("span", { class: "word" }, word)]);
}

function sentence(answer) {
  const on = `${answer.model} ${answer.fits ? "fits" : "does not fit"} on ${answer.machine.name}`;
  if (answer.fits) return `${on}: ${speed(answer)}`;
  const short = PLACE_NAMES.filter((_, i) => answer.need[i] > answer.have[i]);
  return short.length ? `${on}: too little memory on the ${listed(short)}` : on;
}

function speed(answer) {
  const band = answer.band ? `90\u00a0%: ${answer.band.map(showNumber).join(" to ")}` : "no band is known";
  return `${showNumber(answer.tokensPerS)} tokens/s (${band})`;
}

function figures(answer) {
  const step = `${showSeconds(answer.step)} per step of ${answer.tokens.toLocaleString("en-US")} tokens`;
  const would = answer.fits ? step : `With more memory ${speed(answer)}, ${step}`;
  return `${would}. Binds: ${listed(answer.binds)}.`;
}

function sourceWords(answer) {
  const shared = answer.machine.cards === 1 ? "" : " The cards share the blocks as on a ring.";
  return `${sourceOf(answer)}${shared}`;
}

function sourceOf(answer) {
  const looked = answer.machine.cards === 1 ? "searched all plans" : "simulated the best of the stored plans";
  if (answer.source === "engine") return `Exact: the engine was asked, and ${looked}.`;
  if (answer.source === "scaled") return "Interpolated: the limits that are stored, scaled to this link rate.";
  if (answer.source === "mixed") return "Interpolated between two stored plans: none of the stored ones fits as it is.";
  const among = "the best of the stored plans";
  if (answer.source === "stored") return `Looked up: ${among}, as the engine predicts it (within 2\u00a0%).`;
  const { lower, upper } = answer.found;
  return `Interpolated: ${among}; its step is proved to lie between ${showSeconds(lower)} and ${showSeconds(upper)}.`;
}

function memoryBars(answer, state) {
  const note = (i) => (i === 1 && state.host === null && answer.machine.host_assumed ? " (assumed)" : "");
  const named = [answer.machine.cards === 1 ? "card" : "each card", ...PLACE_NAMES.slice(1)];
  const rows = named.map((name, i) => [name, i]).filter(([, i]) => i < 2 || answer.need[i] > 0);
  return element("div", { class: "bars" }, ...rows.flatMap(([name, i]) => barRow(name, answer.need[i], answer.have[i], note(i))));
}

/** Streams over one step: how long each is busy, or, where the engine was asked, when. */
function strip(answer) {
  const busy = Object.entries(answer.streams).filter(([, seconds]) => seconds > 0);
  const width = Math.max(280, byId("strip").clientWidth);
  const room = width - NAME_WIDTH - AMOUNT_WIDTH;
  const parts = busy.flatMap(([stream, seconds], row) => streamRow(stream, seconds, row, answer, room));
  const words = busy.map(([stream, s]) => `${STREAM_NAMES[stream]} ${showPercent(s / answer.step)}`).join(", ");
  const title = `Busy in a step of ${showSeconds(answer.step)}: ${words}`;
  return drawn("svg", { viewBox: `0 0 ${width} ${busy.length * ROW}`, role: "img", "aria-label": title }, ...parts);
}

function streamRow(stream, seconds, row, answer, room) {
  const y = row * ROW;
  const at = (s) => NAME_WIDTH + (room * s) / answer.step;
  const spans = answer.spans?.[stream] ?? [[0, Math.min(seconds, answer.step)]];
  const text = (x, words) => drawn("text", { x, y: y + 16 }, words);
  return [
    text(0, STREAM_NAMES[stream]),
    drawn("rect", { class: "track", x: NAME_WIDTH, y: y + 4, width: room, height: ROW - 8 }),
    ...spans.map(([from, to]) => drawn("rect", { class: stream, x: at(from), y: y + 4, width: Math.max(0.4, at(to) - at(from)), height: ROW - 8 })),
    text(NAME_WIDTH + room + 10, `${showSeconds(seconds)}, ${showPercent(Math.min(1, seconds / answer.step))}`),
  ];
}

function bindsWords(answer) {
  const whose = answer.machine.cards === 1 ? "" : answer.spans ? ", on the first card" : ", on the busiest card";
  const drawnHow = answer.spans ? `When each stream is busy in a steady step${whose}.` : `How long each stream is busy in a step, to scale${whose}.`;
  if (!answer.regime) return `${drawnHow} Nothing is copied, so the link’s rate changes nothing.`;
  const { upTo, other, binds } = answer.regime;
  const then = inWords([other])[0];
  if (!binds) return `${drawnHow} The link would bind below ${showRate(upTo)}, one way.`;
  return `${drawnHow} The link binds up to ${showRate(upTo)}, one way; above that ${then} does.`;
}

function showFront(answer) {
  const here = answer.fits ? { device: answer.need[0], tokensPerS: answer.tokensPerS } : null;
  drawFront(byId("front"), answer.front, here, answer.have[0]);
  byId("front").setAttribute("aria-label", "Tokens per second against the memory of the card");
  const fastest = new Map(answer.front.map((p) => [showGib(p.device), p.tokensPerS])); // of those that look as large
  const points = [...fastest].map(([gib, tokensPerS]) => `${gib} GiB: ${showNumber(tokensPerS)} tokens/s`);
  const where = here ? "The dot is where you are, the dashed line the card’s memory. " : "The dashed line is the card’s memory. ";
  byId("front-words").textContent = points.length ? `${where}From ${points.join("; from ")}.` : "No plan has room on the host, whatever the card has.";
}

function changesTable(answer, advice) {
  if (!advice.length) return element("p", { class: "note" }, `No single change that was looked up ${answer.fits ? "gains 2\u00a0% or more" : "makes it fit"}.`);
  const rows = advice.map((change) => ({
    cells: [
      change.state ? chooser(change.words, change.state) : change.words,
      `\u00d7\u00a0${change.factor.toFixed(2)}`,
      showNumber(change.answer.tokensPerS),
      `${showGib(change.answer.need[0])}\u00a0GiB`,
      listed(change.answer.binds),
    ],
  }));
  return tableElement(["change", "speed", "tokens/s", "card", "then binds"], rows, [4]);
}

/** A change that is made by choosing it. */
function chooser(words, state) {
  const button = element("button", { type: "button" }, words);
  button.addEventListener("click", () => choose(state));
  return button;
}

function trustList(answer) {
  const trust = answer.trust;
  const rows = [];
  if (trust) {
    rows.push(["in short", trust.line]);
    rows.push(["band", answer.source === "engine" ? "this case’s own" : `that of ${STORED.typical} on this computer where the same limit binds`]);
    rows.push(["it holds", trust.words.band_holds], ["it lacks", trust.words.band_lacks]);
    rows.push(["hold-out error", trust.words.hold_out_error]);
    rows.push(["compute", trust.provenance.compute], ["link", trust.provenance.link], ["assumed", trust.provenance.assumed]);
  } else rows.push(["band", STORED.served ? "the engine is being asked" : "none is stored for what binds here"]);
  rows.push(["extrapolated", answer.extrapolated.length ? answer.extrapolated.join("; ") : "nothing"]);
  return definitions(rows);
}
