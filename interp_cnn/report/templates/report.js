// Search, sorting and the choice of a layer in the gallery. Their state is kept for the session, so
// that coming back from a filter finds the gallery as it was.
"use strict";

const form = document.querySelector("form.controls");
const list = document.querySelector("ul.cards");
const fields = form.elements;
const count = form.querySelector(".count");
const cards = [...list.children].map((element) => ({
  element,
  values: element.dataset,
  text: element.textContent.toLowerCase(),
}));

// Of two filters the first in the order chosen; what is unknown comes last in both directions.
function compare(key, reversed) {
  const words = key === "category" || key === "part";
  const sign = reversed ? -1 : 1;
  return (a, b) => {
    const x = a.values[key];
    const y = b.values[key];
    if (x === "" || y === "") {
      if (x !== y) return x === "" ? 1 : -1;
    } else {
      const order = words ? x.localeCompare(y) : x - y;
      if (order) return sign * order;
    }
    if (words) {
      // Within a part or a category the most interpretable first.
      const order = b.values.interpretability - a.values.interpretability;
      if (order) return order;
    }
    return a.values.layer - b.values.layer || a.values.unit - b.values.unit;
  };
}

function show() {
  const words = fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const layer = fields.layer.value;
  const pressed = fields.direction.getAttribute("aria-pressed") === "true";
  const descending = "descending" in fields.sort.selectedOptions[0].dataset;
  let number = 0;
  for (const { element, values, text } of cards) {
    const shown = (layer === "" || values.layer === layer) && words.every((word) => text.includes(word));
    element.hidden = !shown;
    number += shown;
  }
  cards.sort(compare(fields.sort.value, descending !== pressed));
  list.append(...cards.map(({ element }) => element));
  count.textContent = number === 1 ? "1 filter" : `${number} filters`;
}

function remember() {
  const state = new URLSearchParams({
    search: fields.search.value,
    layer: fields.layer.value,
    sort: fields.sort.value,
    reversed: fields.direction.getAttribute("aria-pressed"),
  });
  sessionStorage.setItem(location.pathname, state);
}

function recall() {
  const state = new URLSearchParams(sessionStorage.getItem(location.pathname) ?? "");
  if (state.has("search")) fields.search.value = state.get("search");
  for (const name of ["layer", "sort"]) {
    const options = [...fields[name].options].map((option) => option.value);
    if (options.includes(state.get(name))) fields[name].value = state.get(name);
  }
  fields.direction.setAttribute("aria-pressed", String(state.get("reversed") === "true"));
}

function changed() {
  show();
  remember();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", changed);
fields.direction.addEventListener("click", () => {
  const pressed = fields.direction.getAttribute("aria-pressed") === "true";
  fields.direction.setAttribute("aria-pressed", String(!pressed));
  changed();
});

form.hidden = false;
recall();
show();
