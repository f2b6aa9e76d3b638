// Where the page is served it asks the engine; out of a file it asks nobody.

const PATIENCE_MS = 250;
let asking = null;
let waiting = null;

async function post(path, content, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
    signal,
  });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

/** A model's tables from the server: a preset by name, or a config. */
async function fetchModel(question) {
  if (!STORED.served) throw new Error("this file does not hold that model");
  const found = await post("tables", question);
  return readModel(found.content, found.numbers);
}

/** The model with its tables for so many cards, which the server makes when they are asked for. */
async function withCards(model, cards) {
  if (!model.tables.some((table) => table.cards === cards)) {
    const more = await fetchModel({ model: model.name, cards });
    model.tables.push(...more.tables);
  }
  return model;
}

/** Ask for the exact answer to a state, once the sliders rest; an older question is dropped. */
function askEngine(state, show) {
  if (!STORED.served) return;
  clearTimeout(waiting);
  asking?.abort();
  waiting = setTimeout(async () => {
    asking = new AbortController();
    try {
      show(await post("exact", { ...state, microbatches: STORED.microbatches[state.load] }, asking.signal));
    } catch (error) {
      if (error.name !== "AbortError") byId("source").textContent += ` The engine could not be asked: ${error.message}`;
    }
  }, PATIENCE_MS);
}

/** The stored model that a config describes, or null. */
function storedLike(config) {
  const same = (known) => known && Object.entries(known).every(([key, value]) => config[key] === value);
  return STORED.models.find((model) => same(model.config)) ?? null;
}
