// From what is chosen to an answer: the best stored plan that fits, by look-up.

const PLACE_NAMES = ["card", "host", "drive"];

/** Bytes that there are on card, host and drive. */
function room(state, machine) {
  return [
    state.device === null ? machine.device_bytes : state.device * GIB,
    state.host === null ? machine.host_bytes : state.host * GIB,
    state.drive ? machine.drive_bytes : 0,
  ];
}

function fitsIn(need, have) {
  return need.every((bytes, place) => bytes <= have[place]);
}

/** Every stored plan with its step and its needs. */
function plansOf(table, machine, state) {
  return Array.from({ length: table.plans }, (_, plan) => {
    const found = stepOf(table, plan, machine, state.load, state.link);
    const tokens = STORED.microbatches[state.load] * table.sequence;
    const need = needs(table, plan, state.load);
    return { plan, found, need, tokens, tokensPerS: tokens / found.step };
  });
}

function fastest(plans) {
  return plans.reduce((best, one) => (best === null || one.tokensPerS > best.tokensPerS ? one : best), null);
}

/** Of plans that do not fit, the one that lacks least, as a share of what there is. */
function nearest(plans, have) {
  const lacks = (one) => Math.max(...one.need.map((bytes, i) => (bytes === 0 ? 0 : bytes / Math.max(have[i], 1))));
  return plans.reduce((best, one) => (lacks(one) < lacks(best) ? one : best));
}

/** The answer to a state, out of a model's tables. */
function answerOf(model, state) {
  const machine = computerOf(state);
  const table = tableOf(model, state);
  const number = table.computers.indexOf(STORED.machines.indexOf(machine));
  const plans = plansOf(table, number, state);
  const have = room(state, machine);
  const best = fastest(plans.filter((one) => fitsIn(one.need, have))) ?? leastResident(table, plans, have, state.load);
  const shown = best ?? nearest(plans, have);
  const binds = binding(shown.found);
  return {
    ...shown,
    source: shown.found.source,
    fits: best !== null,
    step: shown.found.step,
    have,
    machine,
    binds: inWords(binds),
    band: bandOf(machine, binds, shown),
    trust: trustOf(machine, binds, shown),
    extrapolated: table.extrapolated[table.extrapolates[number]],
    regime: regime(shown.found, machine, state.link),
    streams: streamsOf(shown.found),
    flags: shown.blocks === undefined ? table.flags[shown.plan] : flagsBetween(table, shown),
    recipe: table.recipe,
    front: frontOf(plans, have),
    model: model.name,
  };
}

function trustOf(machine, binds, shown) {
  return machine.trust[bandKind(binds, shown.found.limits)] ?? null;
}

function bandOf(machine, binds, shown) {
  const trust = trustOf(machine, binds, shown);
  return trust ? trust.band.map((ratio) => shown.tokensPerS / ratio).reverse() : null;
}

/** What every stream is busy with, in seconds of the step; of several cards the busiest one. */
function streamsOf(found) {
  const { compute, link_h2d, link_d2h, peer, nvme_read, nvme_write } = found.limits;
  return { compute, h2d: link_h2d, d2h: link_d2h, peer, nvme_read, nvme_write };
}

/** What more memory on the card buys, with the host's as it is: plans that none smaller beats. */
function frontOf(plans, have) {
  const front = [];
  const possible = plans.filter((one) => fitsIn(one.need.slice(1), have.slice(1)));
  for (const one of possible.sort((a, b) => a.need[0] - b.need[0] || b.tokensPerS - a.tokensPerS)) {
    if (!front.length || one.tokensPerS > front.at(-1).tokensPerS) front.push(one);
  }
  return front.map((one) => ({ device: one.need[0], tokensPerS: one.tokensPerS, plan: one.plan }));
}
