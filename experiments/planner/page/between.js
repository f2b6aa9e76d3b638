// Plans between two stored ones: with one slot, and a number of resident blocks that is not stored.
//
// Every resident block moves as many bytes from the host to the card, so what such a plan needs lies on
// a line, and so, nearly, does its step. They are looked at where no stored plan has room.

/** Stored plans with one slot, those of few resident blocks first. */
function line(table, plans) {
  return plans.filter((one) => table.residents[one.plan] !== null).sort((a, b) => table.residents[a.plan] - table.residents[b.plan]);
}

function mixed(a, b, share) {
  return a + (b - a) * share;
}

/** The plan with so many blocks resident, between two neighbours. */
function between(table, few, many, blocks) {
  const [from, to] = [table.residents[few.plan], table.residents[many.plan]];
  const share = (blocks - from) / (to - from);
  const step = mixed(few.found.step, many.found.step, share);
  const limits = Object.fromEntries(Object.entries(few.found.limits).map(([name, s]) => [name, mixed(s, many.found.limits[name], share)]));
  return {
    ...few,
    blocks,
    need: few.need.map((bytes, place) => mixed(bytes, many.need[place], share)),
    found: { source: "mixed", step, lower: mixed(few.found.lower, many.found.lower, share), upper: null, limits },
    tokensPerS: few.tokens / step,
  };
}

/** The plan with the fewest resident blocks that has room on the host, if it has room on the card. */
function leastResident(table, plans, have) {
  const stored = line(table, plans);
  for (let i = 1; i < stored.length; i += 1) {
    const [few, many] = [stored[i - 1], stored[i]];
    const blocks = table.residents[many.plan] - table.residents[few.plan];
    const excess = few.need[1] - have[1];
    const more = Math.ceil((blocks * excess) / (few.need[1] - many.need[1]));
    if (excess <= 0 || more > blocks) continue;
    const found = between(table, few, many, table.residents[few.plan] + more);
    return fitsIn(found.need, have) ? found : null;
  }
  return null;
}

/** Its flags, from those of the stored plan that it is like. */
function flagsBetween(table, one) {
  const stored = table.flags[one.plan].replace(/ --resident-blocks \d+/, "");
  return `${stored} --resident-blocks ${one.blocks}`;
}
