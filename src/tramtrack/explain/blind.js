"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const ASKED = { localises: "Does the map localise the calcifications?", finer: "Which map is finer?" };
const LABELS = { yes: "Yes", partly: "Partly", no: "No", left: "Left", same: "The same", right: "Right" };
const KEYS = {
  localises: { 1: "yes", 2: "partly", 3: "no", y: "yes", p: "partly", n: "no" },
  finer: { 1: "left", 2: "same", 3: "right", ArrowLeft: "left", ArrowDown: "same", ArrowRight: "right" },
};
const PREFIX = `tramtrack-blind ${data.page} `;
let reader = "";
let ratings = {};
let place = 0;

function stored() {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length)).sort();
  } catch {
    at("unkept").hidden = false;
    return [];
  }
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) || {};
  } catch {
    return {};
  }
}

function keep() {
  try {
    localStorage.setItem(PREFIX + reader, JSON.stringify(ratings));
  } catch {
    at("unkept").hidden = false;
  }
}

function rated(of) {
  return data.items.filter((one) => one.item in of).length;
}

function show(part) {
  for (const name of ["start", "reading", "done"]) at(name).hidden = name !== part;
}

function figure(caption, bare, map) {
  const made = document.createElement("figure");
  const image = document.createElement("img");
  image.src = data.pictures[map === undefined ? bare : map];
  image.alt = map === undefined ? "Mammogram without a map" : `Mammogram with a heat map, ${caption.toLowerCase()}`;
  if (map !== undefined) {
    image.dataset.map = data.pictures[map];
    image.dataset.bare = data.pictures[bare];
  }
  const text = document.createElement("figcaption");
  text.textContent = caption;
  made.append(image, text);
  return made;
}

function draw() {
  const one = data.items[place];
  const done = rated(ratings);
  at("count").textContent = `${done} of ${data.items.length} rated`;
  at("progress").max = data.items.length;
  at("progress").value = done;
  at("question").textContent = ASKED[one.question];
  const pictures = one.question === "finer"
    ? [figure("Left", one.view, one.maps[0]), figure("View", one.view), figure("Right", one.view, one.maps[1])]
    : [figure("View", one.view), figure("Map", one.view, one.maps[0])];
  at("pictures").classList.toggle("three", pictures.length === 3);
  at("pictures").replaceChildren(...pictures);
  at("answers").replaceChildren(...data.ratings[one.question].map((rating, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.rating = rating;
    button.textContent = LABELS[rating];
    const key = document.createElement("kbd");
    key.textContent = one.question === "finer" ? "←↓→"[number] : String(number + 1);
    button.append(key);
    button.setAttribute("aria-pressed", String(ratings[one.item] === rating));
    button.addEventListener("click", () => rate(rating));
    return button;
  }));
  bare(false);
  at("back").disabled = place === 0;
  at("next").disabled = done === data.items.length;
  show("reading");
  at("question").focus({ preventScroll: true });
}

function unrated(from) {
  const order = data.items.map((_, number) => (from + number) % data.items.length);
  return order.find((number) => !(data.items[number].item in ratings));
}

function advance(from) {
  const next = unrated(from);
  if (next === undefined) {
    at("count").textContent = `${rated(ratings)} of ${data.items.length} rated`;
    at("progress").value = data.items.length;
    show("done");
    at("h-done").focus();
    return;
  }
  place = next;
  draw();
}

function rate(rating) {
  ratings[data.items[place].item] = rating;
  keep();
  advance(place);
}

function begin(name) {
  reader = name;
  ratings = read(name);
  at("who").textContent = name;
  at("save").hidden = false;
  at("progress").max = data.items.length;
  advance(0);
}

function download() {
  const lines = ["page,reader,item,question,rating"];
  for (const one of data.items) {
    if (one.item in ratings) lines.push([data.page, reader, one.item, one.question, ratings[one.item]].join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = `ratings-${reader.replace(/[^A-Za-z0-9]+/g, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function bare(hidden) {
  at("hide").setAttribute("aria-pressed", String(hidden));
  for (const image of document.querySelectorAll("#pictures img[data-map]")) {
    image.src = hidden ? image.dataset.bare : image.dataset.map;
  }
}

function back() {
  if (place > 0) {
    place -= 1;
    draw();
  }
}

function zoom() {
  at("zoom").setAttribute("aria-pressed", String(document.body.classList.toggle("large")));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(at("reader").value.trim().replace(/\s+/g, " "));
});
for (const name of stored()) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Go on as ${name} (${rated(read(name))} of ${data.items.length})`;
  button.addEventListener("click", () => begin(name));
  at("known").append(button);
}
at("back").addEventListener("click", back);
at("hide").addEventListener("click", () => bare(at("hide").getAttribute("aria-pressed") === "false"));
at("zoom").addEventListener("click", zoom);
at("next").addEventListener("click", () => advance(place + 1));
at("save").addEventListener("click", download);
at("download").addEventListener("click", download);
at("again").addEventListener("click", draw);
addEventListener("keydown", (event) => {
  if (at("reading").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const rating = KEYS[data.items[place].question][event.key] || KEYS[data.items[place].question][event.key.toLowerCase()];
  if (rating && !event.repeat) rate(rating);
  else if (event.key === "Backspace") back();
  else if (event.key.toLowerCase() === "z") zoom();
  else if (event.key === " " && event.target.tagName !== "BUTTON") bare(true);
  else if (!rating) return;
  event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.tagName !== "BUTTON") bare(false);
});
addEventListener("blur", () => bare(false));
