// Numbers as people read them: the engine's digits (zo2sim/sizes.py), with units and a real minus sign.

const GIB = 2 ** 30;

function signed(text) {
  return text.replace("-", "\u2212");
}

/** Four significant digits, and no exponent for large ones: "94.15", "20,480". */
function showNumber(value) {
  if (value >= 1e4) return Math.round(value).toLocaleString("en-US");
  const digits = Number(value.toPrecision(4));
  return signed(digits.toLocaleString("en-US", { maximumFractionDigits: 6 }));
}

/** Three significant digits, zeros too, in the unit that suits. */
function showSeconds(seconds) {
  const units = [[1e-3, 1e6, "\u00b5s"], [1, 1e3, "ms"], [600, 1, "s"], [Infinity, 1 / 60, "min"]];
  const [, factor, unit] = units.find(([limit]) => Number(seconds.toPrecision(3)) < limit);
  const digits = { minimumSignificantDigits: 3, maximumSignificantDigits: 3 };
  return `${(seconds * factor).toLocaleString("en-US", digits)} ${unit}`;
}

function showGib(bytes) {
  return (bytes / GIB).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}

/** One place after the point, or none where a decimal says nothing: "26 GB/s". */
function showRate(bytesPerS) {
  return `${Number((bytesPerS / 1e9).toPrecision(3))} GB/s`;
}

function showPercent(share) {
  return `${Math.round(share * 100)}\u00a0%`;
}

/** "a, b and c". */
function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
