// What to change first: other positions of the sliders, each looked up, those that gain most.

const WORTH = 1.02; // gain from which on a change is worth telling, as in the engine
const SAME_SPEED = 1.01; // of two values of one slider, the one that changes less does where it is as fast
const MOST = 4;

/** Changes of what is chosen, in words; not all of them help. */
function changesOf(model, state, answer) {
  const changes = [];
  const change = (words, values) => changes.push({ words, slider: Object.keys(values)[0], state: { ...state, ...values } });
  for (const load of [state.load + 1, LOADS - 1]) {
    if (load < LOADS && load > state.load) change(`${STORED.microbatches[load]} microbatches per step`, { load });
  }
  for (const cards of cardCounts(state.machine)) {
    if (cards > state.cards) change(`${cards} cards in one computer`, { cards });
  }
  if (state.trains === "all") change("train adapters only", { trains: "adapters" });
  for (const storage of ["int8", "int4"]) {
    if (state.trains === "adapters" && storage !== state.storage) change(`store blocks as ${storage}`, { storage });
  }
  if (state.load > 0) change("1 microbatch per step", { load: 0 });
  if (!state.drive) change("let weights stay on a drive", { drive: true });
  const next = nextMemory(answer);
  if (next !== null) change(`${next} GiB on the card`, { device: next });
  change("a link twice as fast", { link: state.link * 2 });
  return changes;
}

/** Whole GiB with which the card has room for a faster plan, the best that there is. */
function nextMemory(answer) {
  const faster = answer.front.filter((point) => point.device > answer.have[0] && point.tokensPerS > answer.tokensPerS * WORTH);
  return faster.length ? Math.ceil(faster.at(-1).device / GIB) : null;
}

/** Of every slider the fastest value, the first of those that are as fast. */
function bestOfEach(changes) {
  const best = new Map();
  for (const change of changes) {
    const known = best.get(change.slider);
    if (!known || change.factor > known.factor * SAME_SPEED) best.set(change.slider, change);
  }
  return [...best.values()];
}

/** The changes that fit and gain most, one of every slider; where nothing fits, those that do. */
function adviceOf(model, state, answer) {
  const known = changesOf(model, state, answer)
    .filter((change) => tableOf(model, change.state))
    .map((change) => ({ ...change, answer: answerOf(model, change.state) }))
    .filter((change) => change.answer.fits)
    .map((change) => ({ ...change, factor: change.answer.tokensPerS / answer.tokensPerS }));
  return bestOfEach(known)
    .filter((change) => !answer.fits || change.factor > WORTH)
    .sort((a, b) => b.factor - a.factor)
    .slice(0, MOST);
}
