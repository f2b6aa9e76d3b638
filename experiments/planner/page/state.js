// What is chosen, in the page's address: it can be shared, kept, and gone back to.

const LINK_FACTORS = Array.from({ length: 33 }, (_, i) => 2 ** ((i - 16) / 8));
const DEVICE_GIB = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128, 141, 160, 180, 192];
const HOST_GIB = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096];
const PASTED = "pasted-"; // what the server calls the model of a config
const USUAL = { model: "opt-13b", machine: "rtx-4090-24gb", cards: 1, device: null, host: null, link: 1, load: 0, storage: "fp16", trains: "all", drive: true, prices: {} };

function usualState() {
  const known = (list, name) => (list.some((one) => one.name === name) ? name : list[0].name);
  return { ...USUAL, model: known(STORED.models, USUAL.model), machine: known(STORED.machines, USUAL.machine), prices: {} };
}

function positive(text) {
  const value = Number(text);
  return text !== null && Number.isFinite(value) && value > 0 ? value : null;
}

/** As many cards as there are in some computer, or one. */
function knownCards(text, machine) {
  return cardCounts(machine).includes(Number(text)) ? Number(text) : 1;
}

function among(text, values, otherwise) {
  return values.includes(text) ? text : otherwise;
}

/** Integers take no update, so they go with adapters alone. */
function possible(state) {
  return state.trains === "all" && state.storage !== "fp16" ? { ...state, storage: "fp16" } : state;
}

function stateOfHash(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const usual = usualState();
  const load = STORED.microbatches.indexOf(Number(said.get("microbatches") ?? 1));
  const machine = among(said.get("machine"), STORED.machines.map((m) => m.card), usual.machine);
  const prices = [...said].filter(([key, value]) => key.startsWith("price.") && positive(value));
  return possible({
    model: among(said.get("model"), STORED.models.map((m) => m.name), usual.model),
    machine,
    cards: knownCards(said.get("cards"), machine),
    device: positive(said.get("device")),
    host: positive(said.get("host")),
    link: positive(said.get("link")) ?? 1,
    load: load < 0 ? 0 : load,
    storage: among(said.get("storage"), ["fp16", "int8", "int4"], usual.storage),
    trains: among(said.get("trains"), ["all", "adapters"], usual.trains),
    drive: said.get("drive") !== "no",
    prices: Object.fromEntries(prices.map(([key, value]) => [key.slice(6), Number(value)])),
  });
}

function hashOf(state) {
  const said = new URLSearchParams({ model: state.model, machine: state.machine, microbatches: STORED.microbatches[state.load] });
  if (state.cards !== 1) said.set("cards", state.cards);
  if (state.device !== null) said.set("device", state.device);
  if (state.host !== null) said.set("host", state.host);
  if (state.link !== 1) said.set("link", Number(state.link.toPrecision(4)));
  if (state.storage !== "fp16") said.set("storage", state.storage);
  if (state.trains !== "all") said.set("trains", state.trains);
  if (!state.drive) said.set("drive", "no");
  for (const [machine, price] of Object.entries(state.prices)) said.set(`price.${machine}`, price);
  return `#${said}`;
}

/** The command that asks the engine the same. */
function commandOf(state, answer) {
  const words = ["zo2sim plan", state.model.startsWith(PASTED) ? "config.json" : state.model, computerOf(state).asked];
  if (state.device !== null) words.push(`--device-memory ${state.device}GiB`);
  if (state.host !== null) words.push(`--host-memory ${state.host}GiB`);
  if (state.load > 0) words.push(`--microbatches ${STORED.microbatches[state.load]}`);
  return [...words, answer.recipe, answer.flags].filter((word) => word).join(" ");
}
