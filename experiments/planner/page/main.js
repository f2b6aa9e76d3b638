// The page's one piece of state, its inputs, and what happens when one of them moves.

const current = { state: usualState(), turn: 0, shown: null };

/** Sorted steps of a slider; `own` is the machine's, wherever it lies among the others. */
function steps(list, ownBytes) {
  const own = ownBytes / GIB;
  return [...list.filter((value) => Math.abs(value - own) > 0.25), own].sort((a, b) => a - b);
}

function nearestIndex(values, wanted) {
  return values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

function deviceSteps() {
  return steps(DEVICE_GIB, computerOf(current.state).device_bytes);
}

function hostSteps() {
  return steps(HOST_GIB, computerOf(current.state).host_bytes);
}

function setSlider(id, values, value, shown) {
  const slider = byId(id);
  slider.max = values.length - 1;
  slider.value = nearestIndex(values, value);
  slider.setAttribute("aria-valuetext", shown);
  byId(`${id}-shown`).textContent = shown;
}

/** How many of the card, where computers with more of it are known. */
function showCards(state, machine) {
  const counts = cardCounts(state.machine);
  setSlider("cards", counts, state.cards, state.cards === 1 ? "1" : `${state.cards}, of ${machine.asked}`);
  byId("cards").disabled = counts.length === 1;
  byId("cards-said").textContent = counts.length > 1 ? "" : "No computer with more of this card is in the catalogue.";
  byId("device-of").textContent = state.cards === 1 ? "the card" : "each card";
}

/** Inputs as the state has them. */
function showInputs(state, table) {
  const machine = computerOf(state);
  for (const id of ["model", "machine", "trains"]) byId(id).value = state[id];
  for (const option of byId("storage").options) option.disabled = option.value !== "fp16" && state.trains === "all";
  byId("storage").value = state.storage;
  byId("drive").checked = state.drive;
  byId("drive").disabled = state.cards > 1;
  showCards(state, machine);
  const memory = (own, value) => (value === null ? `${showGib(own)} GiB, its own` : `${showNumber(value)} GiB`);
  setSlider("device", deviceSteps(), state.device ?? machine.device_bytes / GIB, memory(machine.device_bytes, state.device));
  setSlider("host", hostSteps(), state.host ?? machine.host_bytes / GIB, memory(machine.host_bytes, state.host));
  const rate = showRate(machine.h2d_bytes_per_s * state.link);
  setSlider("link", LINK_FACTORS, state.link, state.link === 1 ? `${rate}, its own` : rate);
  const tokens = STORED.microbatches[state.load] * table.sequence;
  setSlider("load", STORED.microbatches, STORED.microbatches[state.load], tokens.toLocaleString("en-US"));
}

function show(...shown) {
  current.shown = shown;
  showAnswer(...shown);
}

/** Show the answer to the state; what is stored at once, the long table after it, and the engine's
 * when it comes. */
function showState(model, state) {
  const answer = answerOf(model, state);
  showInputs(state, tableOf(model, state));
  show(answer, state, adviceOf(model, state, answer));
  setTimeout(() => {
    if (current.state === state) replaceKept(byId("ranking"), rankingTable(model, state));
  });
  askEngine(state, (exact) => {
    if (current.state === state) show({ ...answer, ...exact, machine: answer.machine }, state, exact.advice);
  });
}

/** Take a state: into the address, and onto the page. */
async function choose(state) {
  current.state = possible(state);
  const turn = (current.turn += 1);
  history.replaceState(null, "", hashOf(current.state));
  try {
    const model = await withCards(await modelNamed(current.state.model), current.state.cards);
    if (turn === current.turn) showState(model, current.state);
  } catch (error) {
    byId("sentence").textContent = `${current.state.model} could not be read: ${error.message}`;
  }
}

function change(values) {
  return choose({ ...current.state, ...values });
}

/** The own memory of a machine is no number in the state: it follows the machine. */
function chosenStep(values, index, ownBytes) {
  const value = values[index];
  return Math.abs(value - ownBytes / GIB) < 1e-9 ? null : value;
}

function connect() {
  const on = (id, event, act) => byId(id).addEventListener(event, () => act(byId(id)));
  const machine = () => computerOf(current.state);
  on("model", "change", (input) => change({ model: input.value }));
  on("machine", "change", (input) => change({ machine: input.value, cards: knownCards(current.state.cards, input.value), device: null, host: null, link: 1 }));
  on("cards", "input", (input) => change({ cards: cardCounts(current.state.machine)[input.value] }));
  on("trains", "change", (input) => change({ trains: input.value }));
  on("storage", "change", (input) => change({ storage: input.value }));
  on("drive", "change", (input) => change({ drive: input.checked }));
  on("load", "input", (input) => change({ load: Number(input.value) }));
  on("device", "input", (input) => change({ device: chosenStep(deviceSteps(), input.value, machine().device_bytes) }));
  on("host", "input", (input) => change({ host: chosenStep(hostSteps(), input.value, machine().host_bytes) }));
  on("link", "input", (input) => change({ link: LINK_FACTORS[input.value] }));
  on("reset", "click", () => change({ device: null, host: null, link: 1 }));
  on("read", "click", () => readConfig(byId("config").value));
  on("copy", "click", copyCommand);
  byId("inputs").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => choose(stateOfHash(location.hash)));
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** The same answer in another width or in other colours. */
function redraw() {
  if (current.shown !== null) showAnswer(...current.shown);
}

/** Into the clipboard, or, where a browser allows that to no file, selected to be copied. */
async function copyCommand() {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    byId("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(byId("command"));
    byId("copied").textContent = "Selected; copy it with the keyboard.";
  }
}

/** A pasted config: a stored model if it is one of them, otherwise what the server makes of it. */
async function readConfig(text) {
  const say = (words) => (byId("config-said").textContent = words);
  try {
    const config = JSON.parse(text);
    const known = storedLike(config);
    if (known === null && !STORED.served) {
      return say("None of the stored models has these sizes. zo2sim serve reads any config; so does zo2sim plan --model config.json.");
    }
    const model = known ?? (await fetchModel({ config }));
    if (known === null) addModel(model);
    await change({ model: model.name });
    say(known === null ? `Read as ${model.name}.` : `These are the sizes of ${known.name}, which is stored.`);
  } catch (error) {
    say(`This is no config.json that can be read: ${error.message}`);
  }
}

function addModel(model) {
  loadedModels.set(model.name, Promise.resolve(model));
  if (STORED.models.some((known) => known.name === model.name)) return;
  STORED.models.push({ name: model.name, config: null });
  byId("model").append(element("option", { value: model.name }, model.name));
}

function begin() {
  options(byId("model"), STORED.models.map(({ name }) => [name, name]));
  options(byId("machine"), STORED.machines.filter(({ cards }) => cards === 1).map(({ name }) => [name, name]));
  byId("made").textContent = `fronts of ${STORED.date}`;
  connect();
  choose(stateOfHash(location.hash));
}

begin();
