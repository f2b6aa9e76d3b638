// Plans between two stored ones: with one slot, and a number of resident blocks that is not stored.
//
// What they need is stored for every number; every resident block takes as many copies away, so a step
// lies nearly on a line. They are looked at where no stored plan has room.

/** Stored plans with one slot, those of few resident blocks first. */
function line(table, plans) {
  return plans.filter((one) => table.residents[one.plan] !== null).sort((a, b) => table.residents[a.plan] - table.residents[b.plan]);
}

function mixed(a, b, share) {
  return a + (b - a) * share;
}

/** The plan with so many blocks resident, between two neighbours. */
function between(table, few, many, blocks, need) {
  const [from, to] = [table.residents[few.plan], table.residents[many.plan]];
  const share = (blocks - from) / (to - from);
  const step = mixed(few.found.step, many.found.step, share);
  const limits = Object.fromEntries(Object.entries(few.found.limits).map(([name, s]) => [name, mixed(s, many.found.limits[name], share)]));
  return {
    ...few,
    blocks,
    need,
    found: { source: "mixed", step, lower: mixed(few.found.lower, many.found.lower, share), upper: null, limits },
    tokensPerS: few.tokens / step,
  };
}

/** The plan with the fewest resident blocks for which there is room. */
function leastResident(table, plans, have, load) {
  const stored = line(table, plans);
  const last = table.residents[stored.at(-1).plan];
  for (let blocks = 0; blocks <= last; blocks += 1) {
    const need = leastNeeds(table, load, blocks);
    if (!fitsIn(need, have)) continue;
    const after = stored.findIndex((one) => table.residents[one.plan] > blocks);
    if (after > 0) return between(table, stored[after - 1], stored[after], blocks, need);
  }
  return null;
}

/** Its flags, from those of the stored plan that it is like. */
function flagsBetween(table, one) {
  const stored = table.flags[one.plan].replace(/ --resident-blocks \d+/, "");
  return `${stored} --resident-blocks ${one.blocks}`;
}
