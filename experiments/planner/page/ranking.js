// The same model on every machine, with one card and with several: by price per million tokens where prices are known, then by speed.

/** Every machine with its own memory and link, and the best of its stored plans. */
function ranked(model, state) {
  return STORED.machines
    .filter(({ cards }) => tableOf(model, { ...state, cards }))
    .map((machine) => {
      const own = { ...state, machine: machine.card, cards: machine.cards, device: null, host: null, link: 1 };
      const answer = answerOf(model, own);
      const price = state.prices[machine.name] ?? null;
      const cost = price === null || !answer.fits ? null : (price / 3600 / answer.tokensPerS) * 1e6;
      return { machine, answer, price, cost, own };
    })
    .sort(before);
}

function before(a, b) {
  if (a.answer.fits !== b.answer.fits) return a.answer.fits ? -1 : 1;
  if ((a.cost === null) !== (b.cost === null)) return a.cost === null ? 1 : -1;
  return a.cost !== null ? a.cost - b.cost : b.answer.tokensPerS - a.answer.tokensPerS;
}

function priceField(row, state) {
  const field = element("input", { type: "number", min: "0", step: "any", inputmode: "decimal", "aria-label": `price per hour of ${row.machine.name}` });
  if (row.price !== null) field.value = row.price;
  field.addEventListener("change", () => {
    const { [row.machine.name]: _, ...others } = state.prices;
    const price = positive(field.value);
    choose({ ...current.state, prices: price === null ? others : { ...others, [row.machine.name]: price } });
  });
  return field;
}

function rankingTable(model, state) {
  const rows = ranked(model, state).map((row) => ({
    attributes: { class: `${row.machine === computerOf(state) ? "here" : ""} ${row.answer.fits ? "" : "no"}` },
    cells: [
      chooser(row.machine.name, row.own),
      row.answer.fits ? showNumber(row.answer.tokensPerS) : "does not fit",
      priceField(row, state),
      row.cost === null ? "" : showNumber(row.cost),
      `${showPercent(row.answer.need[0] / row.answer.have[0])}`,
      row.answer.fits ? row.answer.binds[0] : "",
    ],
  }));
  return tableElement(["machine", "tokens/s", "price per hour", "per million tokens", "card used", "binds"], rows, [5]);
}
