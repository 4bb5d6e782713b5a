// Search, sorting and the choice of a layer in the gallery. Their state is kept for the session, so
// that coming back from a filter finds the gallery as it was.
"use strict";

const form = document.querySelector("form.controls");
const fields = form.elements;
const count = form.querySelector(".count");
const layers = [...document.querySelectorAll("div.layer")].map((element) => {
  const list = element.querySelector("ul");
  const cards = [...list.children].map((card) => {
    const { category, part, landmark } = card.dataset;
    const text = ["filter", category, part, landmark].join(" ").toLowerCase();
    return { element: card, values: card.dataset, text };
  });
  return { element, list, cards };
});

// Of two filters the first in the order chosen; what is unknown comes last in both directions.
function byKey(key, sign) {
  const words = key === "category" || key === "part";
  return (a, b) => {
    const [x, y] = [a.values[key], b.values[key]];
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (words ? x.localeCompare(y) : x - y);
  };
}

function compare(key, reversed) {
  const chosen = byKey(key, reversed ? -1 : 1);
  // Within a part or a category the most interpretable first.
  const interpretable = byKey("interpretability", -1);
  const number = byKey("unit", 1);
  return (a, b) => chosen(a, b) || interpretable(a, b) || number(a, b);
}

// A number is that of a filter; other words may stand anywhere in category, part or landmark.
function found({ values, text }, words) {
  return words.every((word) => (/^\d+$/.test(word) ? word === values.unit : text.includes(word)));
}

function show() {
  const words = fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const pressed = fields.direction.getAttribute("aria-pressed") === "true";
  const descending = "descending" in fields.sort.selectedOptions[0].dataset;
  layers.forEach(({ element }, index) => (element.hidden = index !== fields.layer.selectedIndex));
  const { list, cards } = layers[fields.layer.selectedIndex];
  let number = 0;
  for (const card of cards) {
    card.element.hidden = !found(card, words);
    number += !card.element.hidden;
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
