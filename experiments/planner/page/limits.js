// The step of one stored plan: what every resource takes of it, and how well the step is known.

const ALIKE = 1.02; // limits within this factor bind alike, as in the engine
const CLOSE = 1.04; // an enclosure so narrow has a middle that is within 2 % of the step
// Where the ends do not meet, most steps lie near the lower one: of 77 that were simulated, half by
// no more than 4 % above it, none by more than 12 %.
const ABOVE_LOWER = 1.04;
const LINK_LIMITS = new Set(["link_h2d", "link_d2h", "link_both_ways"]);

/** Seconds by limit, with the link `factor` times as fast as the machine's own. */
function limitsOf(table, plan, machine, load, factor) {
  const of = plan * table.machines + machine;
  const at = of * LOADS + load;
  const limits = { compute: (table.lower[at] * table.share[at]) / SHARES };
  table.limits.forEach((name, number) => {
    const row = (number * table.plans * table.machines + of) * table.limitLoads;
    const seconds = table.shared[row + (load % table.limitLoads)];
    limits[name] = LINK_LIMITS.has(name) ? seconds / factor : seconds;
  });
  return limits;
}

function largest(limits) {
  return Math.max(...Object.values(limits));
}

/** The step with the machine's own link: its ends, and what stands for it, which is between them. */
function ownStep(table, plan, machine, load) {
  const at = (plan * table.machines + machine) * LOADS + load;
  const lower = table.lower[at];
  const upper = lower * (1 + table.width[at] * STORED.width_step);
  return { lower, upper, step: Math.min(Math.sqrt(lower * upper), lower * ABOVE_LOWER) };
}

/**
 * The step, and where it comes from. With another link rate every limit of the link is scaled, and
 * what the step is above its largest limit is kept: an interpolation, and said to be one.
 */
function stepOf(table, plan, machine, load, factor) {
  const own = ownStep(table, plan, machine, load);
  if (factor === 1) {
    const source = own.upper <= own.lower * CLOSE ? "stored" : "between";
    return { ...own, source, limits: limitsOf(table, plan, machine, load, 1) };
  }
  const limits = limitsOf(table, plan, machine, load, factor);
  const above = own.step / largest(limitsOf(table, plan, machine, load, 1));
  return { lower: largest(limits), upper: null, step: largest(limits) * above, source: "scaled", limits };
}

/** What binds, by name: the limits within 2 % of the step's, resources first. */
function binding(found) {
  const most = Math.max(largest(found.limits), found.source === "scaled" ? 0 : found.lower);
  const links = Math.max(found.limits.link_h2d, found.limits.link_d2h);
  const near = Object.entries(found.limits)
    .filter(([name, s]) => s > 0 && s * ALIKE >= most)
    .filter(([name, s]) => name !== "link_both_ways" || s > links * (1 + 1e-6))
    .sort((a, b) => b[1] - a[1])
    .map(([name]) => name);
  return near.length ? near : ["dependencies"];
}

function inWords(names) {
  return names.map((name) => STORED.words[name] ?? name);
}

/** Up to which rate the link binds, and what binds from there on; null where no copy is made. */
function regime(found, machine, factor) {
  const of = (isLink) =>
    Object.entries(found.limits)
      .filter(([name]) => LINK_LIMITS.has(name) === isLink)
      .reduce((a, b) => (b[1] > a[1] ? b : a));
  const [, link] = of(true);
  const [other, rest] = of(false);
  if (link === 0) return null;
  return { upTo: machine.h2d_bytes_per_s * factor * (link / rest), other, binds: link > rest };
}

/** Which kind of band a step has: that of what binds it, or of what is busiest where all wait. */
function bandKind(bound, limits) {
  const names = bound.includes("dependencies") ? [Object.keys(limits).reduce((a, b) => (limits[b] > limits[a] ? b : a))] : bound;
  if (names.includes("compute")) return "compute";
  if (names.some((name) => LINK_LIMITS.has(name) || name === "uplink")) return "link";
  return names.some((name) => name.startsWith("nvme")) ? "drive" : null;
}
