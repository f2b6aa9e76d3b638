// Tokens per second against the card's memory, drawn by uPlot in the page's colours.

const CHART_HEIGHT = 240;
let chart = null;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(label, more = {}) {
  return {
    label,
    stroke: colour("soft"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { stroke: colour("line"), width: 1 },
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    labelSize: 18,
    ...more,
  };
}

/** The columns of uPlot: memory in GiB, the best speed with so much of it, and where one is. */
function columns(front, here, have) {
  const last = front.at(-1).device;
  const ends = [...front.map((point) => point.device), Math.max(have, last) * 1.02];
  const x = [...new Set([...ends, ...(here === null ? [] : [here.device])])].sort((a, b) => a - b);
  const speed = (bytes) => front.filter((point) => point.device <= bytes).at(-1)?.tokensPerS ?? null;
  return [
    x.map((bytes) => bytes / GIB),
    x.map(speed),
    x.map((bytes) => (here !== null && bytes === here.device ? here.tokensPerS : null)),
  ];
}

/** A line where the card's memory ends. */
function limitLine(have) {
  return (plot) => {
    const x = Math.round(plot.valToPos(have / GIB, "x", true));
    const { top, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.strokeStyle = colour("soft");
    plot.ctx.setLineDash([4, 4]);
    plot.ctx.beginPath();
    plot.ctx.moveTo(x, top);
    plot.ctx.lineTo(x, top + height);
    plot.ctx.stroke();
    plot.ctx.restore();
  };
}

function chartOptions(width, have) {
  return {
    width,
    height: CHART_HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: (_, __, most) => [0, most] }, y: { range: (_, __, most) => [0, most * 1.1] } },
    series: [
      {},
      { stroke: colour("blue"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      { stroke: colour("red"), paths: () => null, points: { show: true, size: 11, fill: colour("red") } },
    ],
    axes: [axis("memory of the card, GiB", { size: 32 }), axis("tokens/s", { size: 64, values: (_, ticks) => ticks.map((t) => showNumber(t)) })],
    hooks: { draw: [limitLine(have)] },
  };
}

/** Draw the front into its place; where no plan has room on the host there is none. */
function drawFront(place, front, here, have) {
  chart?.destroy();
  chart = null;
  place.replaceChildren();
  if (front.length) chart = new uPlot(chartOptions(Math.max(240, place.clientWidth), have), columns(front, here, have), place);
}
