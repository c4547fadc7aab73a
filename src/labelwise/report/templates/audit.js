"use strict";
// The list of an audit: it sorts, filters and pages through the rows, and keeps what a reviewer decides.
// What comes from the data reaches the page as text, never as markup. Only the rows of one page are in the document.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { columns, names } = data;
  const total = columns.id.length, many = data.task === "multi-label", pictures = data.pictures.length > 0;
  const PAGE = 50, MOST_CHOICES = 100, STORE = `labelwise audit ${data.key}`;
  const DONE = { accepted: "accepted", rejected: "given kept", other: "other class" };
  const TONES = { wrong: "loss", "missing positive": "loss", "false positive": "loss", correct: "gain" };
  const $ = (id) => document.getElementById(id);

  let order = [];       // rows that pass the filters, sorted
  let page = 0;         // which page of them is drawn
  let selected = 0;     // place in `order` of the row under review
  let ascending = true;
  const decisions = restore();  // row -> { how, label }, in the order they were made

  // ---- text ----------------------------------------------------------------------------------------------------

  function labelText(index) {
    if (index < 0) return many ? "unknown" : "none";
    return many ? { 0: "absent", 1: "present" }[names.label[index]] ?? names.label[index] : names.label[index];
  }

  function percent(value) {  // nothing is sure because of rounding
    if (value === null) return "–";
    return value > 0.995 && value < 1 ? ">99%" : value > 0 && value < 0.005 ? "<1%" : `${Math.round(100 * value)}%`;
  }

  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const name = (text) => el("bdi", { class: "name", title: text.slice(0, 300) }, text.slice(0, 300));

  function image(row) {
    const found = columns.picture[row];
    if (found < 0) return el("span", { class: "noimage" }, "no picture");
    const node = el("img", { alt: "", src: `data:image/jpeg;base64,${data.pictures[found]}` });
    node.onload = () => node.classList.toggle("pixelated", node.naturalWidth < 64);
    return node;
  }

  const bar = (value) => el("i", { class: "share", style: `--share:${value ?? 0}`, title: `probability ${percent(value)}` });
  const verdict = (row) => {
    const said = names.verdict[columns.verdict[row]];
    return el("span", { class: `badge ${TONES[said] ?? "mixed"}` }, said);
  };

  function decided(row) {
    const found = decisions.get(row);
    if (!found) return "";
    return found.how === "other" ? labelText(found.label) : DONE[found.how];
  }

  // ---- order ---------------------------------------------------------------------------------------------------

  const ranks = {};
  function rankOf(kind, texts) {  // texts are compared once; after that only their places are
    if (!ranks[kind]) {
      const compare = new Intl.Collator(undefined, { numeric: true }).compare;
      const places = texts.map((_, place) => place).sort((a, b) => compare(texts[a], texts[b]));
      ranks[kind] = new Int32Array(texts.length);
      places.forEach((place, rank) => { ranks[kind][place] = rank; });
    }
    return ranks[kind];
  }

  function sortValue(key) {
    const column = columns[key];
    if (key === "rank") return (row) => row;
    if (key === "decision") return (row) => (decisions.has(row) ? Object.keys(DONE).indexOf(decisions.get(row).how) : null);
    if (key === "id") return (row) => rankOf("id", column)[row];
    const kind = key === "given" || key === "suggested" ? "label" : key;
    if (names[kind]) return (row) => (column[row] < 0 ? null : rankOf(kind, names[kind])[column[row]]);
    return (row) => column[row];
  }

  function passes() {
    const wanted = $("text").value.trim().toLowerCase(), least = parseFloat($("least").value);
    const [kind, chosen, split] = ["verdict", "class", "split"].map((id) => $(id).value === "" ? -1 : Number($(id).value));
    const state = $("state").value;
    return (row) =>
      (kind < 0 || columns.verdict[row] === kind) &&
      (split < 0 || columns.split[row] === split) &&
      (chosen < 0 || (many ? columns.category[row] === chosen : columns.given[row] === chosen || columns.suggested[row] === chosen)) &&
      (Number.isNaN(least) || (columns.score[row] !== null && columns.score[row] >= least)) &&
      (state === "" || decisions.has(row) === (state === "decided")) &&
      (wanted === "" || columns.id[row].toLowerCase().includes(wanted));
  }

  function refresh() {
    const before = order[selected], pass = passes(), value = sortValue($("sort").value), sign = ascending ? 1 : -1;
    order = [];
    for (let row = 0; row < total; row++) if (pass(row)) order.push(row);
    order.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === right) return a - b;
      if (left === null || right === null) return left === null ? 1 : -1;  // what is not known comes last
      return sign * (left - right);
    });
    selected = Math.max(0, order.indexOf(before));
    page = Math.floor(selected / PAGE);
    draw();
  }

  function sortBy(key, direction) {
    $("sort").value = key;
    ascending = direction ?? !(data.descending.includes(key));
    order = [];  // start at the top of the new order
    refresh();
  }

  // ---- drawing -------------------------------------------------------------------------------------------------

  function tableRow(row) {
    const id = el("td", { class: "left" }, name(columns.id[row]));
    if (names.split.length > 1) id.append(el("small", {}, names.split[columns.split[row]]));
    const label = (key) => el("td", { class: "left" }, name(labelText(columns[key][row])), bar(columns[`p_${key}`][row]));
    return el("tr", {}, el("th", { scope: "row" }, String(row + 1)),
      ...(pictures ? [el("td", { class: "thumb" }, image(row))] : []), id,
      ...category(row, "td"),
      label("given"), label("suggested"), el("td", {}, columns.score[row] === null ? "–" : columns.score[row].toFixed(3)),
      el("td", { class: "left" }, verdict(row)), el("td", {}, percent(columns.agreement[row])),
      el("td", { class: "left decision" }));
  }

  function bars(row) {
    const line = (key) => el("li", {}, el("i", { class: "fill", style: `width:${100 * (columns[`p_${key}`][row] ?? 0)}%` }),
      el("span", { class: "name" }, el("span", { class: "word" }, `${key} `), name(labelText(columns[key][row]))),
      el("span", { class: "share" }, percent(columns[`p_${key}`][row])));
    return el("ul", { class: "bars" }, line("given"), line("suggested"));
  }

  const category = (row, tag) => (many ? [el(tag, { class: "left" }, name(names.category[columns.category[row]]))] : []);

  function card(row) {
    return el("li", { class: pictures ? "card crop" : "card crop plain" }, ...(pictures ? [image(row)] : []),
      el("div", {}, ...category(row, "h3"), bars(row), el("p", {}, verdict(row), ` ${percent(columns.score[row])} wrong`),
        el("p", { class: "truth" }, `${row + 1}. `, name(columns.id[row])), el("p", { class: "truth decision" })));
  }

  let drawn = [];  // [row, node] of this page

  function draw() {
    const gallery = $("gallery").checked, shown = order.slice(page * PAGE, (page + 1) * PAGE);
    drawn = shown.map((row) => [row, gallery ? card(row) : tableRow(row)]);
    drawn.forEach(([, node], place) => { node.onclick = () => select(page * PAGE + place); });
    $("rows").replaceChildren(...(gallery ? [] : drawn.map(([, node]) => node)));
    $("cards").replaceChildren(...(gallery ? drawn.map(([, node]) => node) : []));
    $("table").hidden = gallery;
    $("cards").hidden = !gallery;
    for (const head of document.querySelectorAll("th[data-sort]")) {
      const own = head.dataset.sort === $("sort").value;
      head.setAttribute("aria-sort", own ? (ascending ? "ascending" : "descending") : "none");
    }
    $("direction").textContent = ascending ? "ascending" : "descending";
    const last = Math.max(0, Math.ceil(order.length / PAGE) - 1);
    const from = order.length ? page * PAGE + 1 : 0;
    const to = Math.min(order.length, (page + 1) * PAGE);
    $("where").textContent = `${from.toLocaleString("en")} to ${to.toLocaleString("en")} of ${order.length.toLocaleString("en")}`;
    $("first").disabled = $("back").disabled = page === 0;
    $("forth").disabled = $("last").disabled = page >= last;
    mark();
  }

  function mark() {  // what changes without a row changing: the selection and the decisions
    const row = order[selected];
    for (const [own, node] of drawn) {
      node.classList.toggle("selected", own === row);
      node.classList.toggle("done", decisions.has(own));
      node.querySelector(".decision").replaceChildren(decided(own));
    }
    show(row);
    const here = order.reduce((sum, own) => sum + decisions.has(own), 0);
    $("progress").max = Math.max(1, order.length);
    $("progress").value = here;
    $("counted").textContent = `${here.toLocaleString("en")} of the ${order.length.toLocaleString("en")} listed are decided`;
    $("download").textContent = `Download ${decisions.size.toLocaleString("en")} correction${decisions.size === 1 ? "" : "s"}`;
    for (const id of ["download", "undo", "clear"]) $(id).disabled = decisions.size === 0;
  }

  function show(row) {
    const none = row === undefined;
    for (const id of ["accept", "reject", "other", "next", "previous"]) $(id).disabled = none;
    if (none) {
      $("detail").replaceChildren(el("p", { class: "soft" }, "No label passes these filters."));
      return;
    }
    $("accept").disabled = accepted(row) < 0;
    $("reject").disabled = kept(row) < 0;
    const said = names.verdict[columns.verdict[row]], made = decided(row);
    $("detail").replaceChildren(...(pictures ? [el("div", { class: "large" }, image(row))] : []),
      el("p", { class: "where" }, `${row + 1}. `, name(columns.id[row]), el("span", { class: "word" }, ` ${names.split[columns.split[row]]}`)),
      ...category(row, "h3"), bars(row),
      el("p", {}, verdict(row), el("span", { class: "word" }, ` ${data.meanings[said] ?? ""}`)),
      el("p", { class: "word" }, columns.score[row] === null ? "The label is not known. " : `Wrong with probability ${percent(columns.score[row])}. `,
        `${percent(columns.agreement[row])} of the answers agree on the suggestion.`),
      el("p", { class: "made" }, made ? `Decided: ${made}` : "Not decided"));
  }

  function select(place) {
    if (!order.length) return;
    selected = Math.min(Math.max(place, 0), order.length - 1);
    if (Math.floor(selected / PAGE) === page) mark();
    else turn(Math.floor(selected / PAGE), true);
    const beside = matchMedia("(min-width: 1001px)").matches;  // else the desk stands above the list
    const node = beside ? drawn.find(([row]) => row === order[selected])[1] : $("detail");
    node.scrollIntoView({ block: "nearest" });
  }

  function turn(to, keep = false) {
    page = Math.min(Math.max(to, 0), Math.max(0, Math.ceil(order.length / PAGE) - 1));
    if (!keep) selected = page * PAGE;
    draw();
  }

  // ---- decisions -----------------------------------------------------------------------------------------------

  const accepted = (row) => columns.suggested[row];
  function kept(row) {  // to reject a suggestion for an unknown label is to say the opposite
    if (columns.given[row] >= 0 || !many) return columns.given[row];
    const opposite = names.label[columns.suggested[row]] === "1" ? "0" : "1";
    return names.label.indexOf(opposite);
  }

  function decide(how, label) {
    const row = order[selected];
    if (row === undefined || label < 0) return;
    decisions.delete(row);
    decisions.set(row, { how, label });
    save();
    if (selected + 1 < order.length) select(selected + 1);
    else mark();
  }

  function undo() {
    const row = [...decisions.keys()].pop();
    if (row === undefined) return;
    decisions.delete(row);
    save();
    const place = order.indexOf(row);
    if (place >= 0) select(place);
    else mark();
  }

  function save() {
    try {
      localStorage.setItem(STORE, JSON.stringify([...decisions].map(([row, made]) => [row, made.how, made.label])));
    } catch {
      $("said").textContent = "This browser keeps nothing for this page: download the corrections before you close it.";
    }
  }

  function restore() {
    try {
      const found = JSON.parse(localStorage.getItem(STORE) ?? "[]");
      const sound = found.filter(([row, how, label]) => row in columns.id && how in DONE && label in names.label);
      return new Map(sound.map(([row, how, label]) => [row, { how, label }]));
    } catch {
      return new Map();
    }
  }

  function corrections() {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [many ? "id,category,label" : "id,label"];
    for (const row of [...decisions.keys()].sort((a, b) => a - b)) {
      const cells = [columns.id[row], ...(many ? [names.category[columns.category[row]]] : []), names.label[decisions.get(row).label]];
      lines.push(cells.map(quoted).join(","));
    }
    return lines.join("\n") + "\n";
  }

  function download() {
    const address = URL.createObjectURL(new Blob([corrections()], { type: "text/csv;charset=utf-8" }));
    el("a", { href: address, download: "corrections.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  // ---- another class -------------------------------------------------------------------------------------------

  function choices() {
    const wanted = $("wanted").value.trim().toLowerCase();
    const found = names.label.map((text, place) => [text, place]).filter(([text]) => text.toLowerCase().includes(wanted));
    $("choices").replaceChildren(...found.slice(0, MOST_CHOICES).map(([text, place]) => {
      const button = el("button", { type: "button" }, name(text));
      button.onclick = () => { $("choose").close(); decide("other", place); };
      return el("li", {}, button);
    }));
    if (found.length > MOST_CHOICES) $("choices").append(el("li", { class: "soft" }, `${found.length - MOST_CHOICES} more: type to narrow`));
    if (!found.length) $("choices").append(el("li", { class: "soft" }, "No such class."));
  }

  function choose() {
    if (many || !order.length) return;
    $("wanted").value = "";
    choices();
    $("choose").showModal();
    $("wanted").focus();
  }

  // ---- start ---------------------------------------------------------------------------------------------------

  const actions = {
    accept: () => decide("accepted", accepted(order[selected])),
    reject: () => decide("rejected", kept(order[selected])),
    other: choose,
    undo,
    next: () => select(selected + 1),
    previous: () => select(selected - 1),
    download,
    clear: () => { if (confirm("Forget every decision on this page?")) { decisions.clear(); save(); refresh(); } },
    first: () => turn(0),
    back: () => turn(page - 1),
    forth: () => turn(page + 1),
    last: () => turn(Infinity),
    direction: () => sortBy($("sort").value, !ascending),
  };
  const keys = { a: "accept", r: "reject", o: "other", u: "undo", j: "next", k: "previous", ArrowRight: "next", ArrowLeft: "previous" };

  for (const [id, act] of Object.entries(actions)) $(id).onclick = act;
  for (const id of ["verdict", "class", "split", "state"]) $(id).onchange = refresh;
  for (const id of ["text", "least"]) $(id).oninput = refresh;
  for (const id of ["list", "gallery"]) $(id).onchange = draw;
  $("sort").onchange = () => sortBy($("sort").value);
  for (const head of document.querySelectorAll("th[data-sort] button")) {
    const key = head.parentElement.dataset.sort;
    head.onclick = () => sortBy(key, key === $("sort").value ? !ascending : undefined);
  }
  $("wanted").oninput = choices;
  $("wanted").onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    $("choices").querySelector("button")?.click();
  };
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key], typing = event.target.closest("input:not([type=radio]), select, dialog");
    if (!act || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[act]();
  });

  for (const [id, texts] of [["verdict", names.verdict], ["class", many ? names.category : names.label], ["split", names.split]]) {
    $(id).append(...texts.map((text, place) => el("option", { value: place }, text.slice(0, 80))));
  }
  $("gallery").checked = pictures && matchMedia("(max-width: 560px)").matches;
  $("list").checked = !$("gallery").checked;
  $("review").hidden = false;
  refresh();
})();
