// What the engine stored: words as JSON, numbers as experiments/planner/packed.py packs them.

const STORED = JSON.parse(document.getElementById("stored").textContent);
const LOADS = STORED.microbatches.length;
const SHARES = 65535;
const PLACES = 3;

async function unzipped(base64) {
  const zipped = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads planes of bytes one after the other. */
class Planes {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  /** `count` numbers of `size` bytes, of which the `drop` lowest were left out. */
  merged(count, size, drop) {
    const whole = new Uint8Array(count * size);
    for (let weight = drop; weight < size; weight += 1) {
      for (let i = 0; i < count; i += 1) whole[i * size + weight] = this.bytes[this.at + i];
      this.at += count;
    }
    return whole.buffer;
  }
}

/** One format of a model with so many cards; every array has an entry per plan, then computer, then
 * load. What several cards send each other grows with the load, and so do their limits. */
function readTable(planes, words) {
  const plans = words.flags.length;
  const machines = words.computers.length;
  const steps = plans * machines * LOADS;
  const limits = words.cards === 1 ? STORED.shared_limits : STORED.pooled_limits;
  const limitLoads = words.cards === 1 ? 1 : LOADS;
  return {
    ...words,
    plans,
    machines,
    limits,
    limitLoads,
    memory: new Float64Array(planes.merged(PLACES * plans * LOADS, 8, 0)),
    lower: new Float32Array(planes.merged(steps, 4, 1)),
    width: new Uint8Array(planes.merged(steps, 1, 0)),
    share: new Uint16Array(planes.merged(steps, 2, 0)),
    shared: new Float32Array(planes.merged(limits.length * plans * machines * limitLoads, 4, 0)),
    least: summed(new Float64Array(planes.merged(2 * LOADS * (words.blocks + 1), 8, 0)), words.blocks + 1),
  };
}

/** Numbers of which the differences within every row are stored. */
function summed(differences, row) {
  for (let i = 0; i < differences.length; i += 1) if (i % row) differences[i] += differences[i - 1];
  return differences;
}

async function readModel(words, base64) {
  const planes = new Planes(await unzipped(base64));
  return { ...words, tables: words.formats.map((format) => readTable(planes, format)) };
}

const loadedModels = new Map();

/** A model with its tables: out of this file, or from the server; read once. */
function modelNamed(name) {
  if (!loadedModels.has(name)) loadedModels.set(name, loadModel(name));
  return loadedModels.get(name);
}

function loadModel(name) {
  const number = STORED.models.findIndex((model) => model.name === name);
  const blob = document.getElementById(`numbers-${number}`);
  return blob ? readModel(STORED.models[number], blob.textContent) : fetchModel({ model: name });
}

/** Bytes that a plan needs on device, host and drive. */
function needs(table, plan, load) {
  const at = (place) => table.memory[(place * table.plans + plan) * LOADS + load];
  return [at(0), at(1), at(2)];
}

/** Bytes on card and host with one slot and so many resident blocks. */
function leastNeeds(table, load, blocks) {
  const at = (place) => table.least[(place * LOADS + load) * (table.blocks + 1) + blocks];
  return [at(0), at(1), 0];
}

function tableOf(model, state) {
  return model.tables.find((t) => t.storage === state.storage && t.trains === state.trains && t.cards === state.cards);
}

/** The computer with so many of a card, or undefined. */
function computerOf(state) {
  return STORED.machines.find((machine) => machine.card === state.machine && machine.cards === state.cards);
}

/** How many of a card there are in computers that are known, the fewest first. */
function cardCounts(card) {
  return STORED.machines.filter((machine) => machine.card === card).map((machine) => machine.cards);
}
