"use strict";
// The page of one picture. Names of classes and files are other people's text: they go into
// textContent alone, never into HTML.
(() => {
  const MAX_BYTES = 64 * 1024 * 1024;
  const FEW = 12;
  const find = (id) => document.getElementById(id);
  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const SVG = "http://www.w3.org/2000/svg";
  const percent = (share) =>
    share >= 0.9995 ? "100 %" : share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  const time = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`);
  let asked = 0;
  let shownUrl = "";

  async function send(path, file, fields = {}) {
    const form = new FormData();
    for (const [key, value] of Object.entries(fields)) form.append(key, value);
    form.append("file", file, file.name || "pasted.png");
    const answer = await fetch(path, { method: "POST", body: form });
    if (answer.ok) return answer;
    let line = `the server answered ${answer.status}`;
    try { line = (await answer.json()).error || line; } catch { /* no JSON: the status says it */ }
    throw new Error(line);
  }

  async function show(file) {
    const mine = ++asked;
    drop.classList.remove("first");
    find("error").textContent = "";
    find("result").hidden = true;
    find("status").textContent = `Looking at ${file.name || "the picture"} …`;
    const started = performance.now();
    try {
      if (file.size > MAX_BYTES) throw new Error(`${file.name}: more than 64 MB: shrink it first`);
      const look = await (await send("/look", file)).json();
      if (mine !== asked) return;
      const whole = (performance.now() - started) / 1000;
      await showPicture(file);
      if (mine !== asked) return;
      draw(look, file, whole);
    } catch (error) {
      if (mine !== asked) return;
      const lost = error instanceof TypeError;
      find("status").textContent = "";
      find("error").textContent = lost ? "No answer: does the server still run, and can the file be read?" : error.message;
    }
  }

  async function showPicture(file) {
    if (shownUrl) URL.revokeObjectURL(shownUrl);
    shownUrl = URL.createObjectURL(file);
    const picture = find("picture");
    picture.src = shownUrl;
    try {
      await picture.decode();
    } catch { // a kind that this browser doesn't show, such as TIFF
      URL.revokeObjectURL(shownUrl);
      shownUrl = URL.createObjectURL(await (await send("/picture", file)).blob());
      picture.src = shownUrl;
      await picture.decode();
    }
    // the picture fills its column, or the window's height; what is laid over it follows
    const ratio = picture.naturalWidth / picture.naturalHeight;
    find("stage").style.width = `min(100%, ${(70 * ratio).toFixed(3)}vh)`;
  }

  function draw(look, file, whole) {
    const row = look.prediction;
    const stage = find("stage");
    while (stage.children.length > 1) stage.lastChild.remove();
    stage.classList.remove("grey");
    for (const id of ["controls", "list"]) find(id).replaceChildren();
    find("caption").textContent = row.id;
    find("json").textContent = JSON.stringify(row, null, 1);
    find("times").textContent =
      `Decoding ${time(look.seconds.decode)}, the net ${time(look.seconds.net)}, ${time(whole)} in all.`;
    const headline = drawRow(look, stage);
    if (look.layer) addLayer(stage, look.layer, "Opacity");
    if (look.explains) addExplanation(look, file, stage);
    find("headline").textContent = headline;
    find("picture").alt = `${row.id}: ${headline}`;
    find("status").textContent = "";
    find("result").hidden = false;
    find("headline").focus({ preventScroll: true });
  }

  // lists what a prediction says, and returns it in a few words
  function drawRow(look, stage) {
    const row = look.prediction;
    if (Array.isArray(row.boxes)) return drawBoxes(look, stage);
    if (row.shares) return drawShares(look);
    if (row.scores) return drawScores(look);
    const heads = Object.values(row).filter((part) => part && (part.boxes || part.shares || part.scores));
    if (!heads.length) return drawTable(row);
    return heads.map((part) => drawRow({ ...look, prediction: { id: row.id, ...part } }, stage)).join("; ");
  }

  function drawScores(look) {
    const row = look.prediction;
    const entries = Object.entries(row.scores);
    const list = make("ol", "rows");
    const add = ([name, score]) => {
      const item = make("li");
      const bar = make("span", "bar");
      bar.style.width = `${100 * Math.min(1, Math.max(0, score))}%`;
      item.append(bar, make("span", "name", name), make("span", "", percent(score)));
      list.append(item);
    };
    entries.slice(0, FEW).forEach(add);
    find("list").append(list);
    addMore(entries.slice(FEW), add);
    if (Array.isArray(row.labels)) return row.labels.length ? row.labels.join(", ") : "None of the classes";
    return `${row.label}, ${percent(row.score)}`;
  }

  function drawShares(look) {
    const row = look.prediction;
    const entries = Object.entries(row.shares).filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);
    const list = make("ol", "rows");
    const add = ([name, share]) => {
      const item = make("li");
      const bar = make("span", "bar");
      bar.style.width = `${100 * share}%`;
      const swatch = make("span", "swatch");
      swatch.style.background = look.colours[name] || "none";
      item.append(bar, swatch, make("span", "name", name), make("span", "", percent(share)));
      list.append(item);
    };
    entries.slice(0, FEW).forEach(add);
    find("list").append(list);
    addMore(entries.slice(FEW), add);
    const one = entries.length === 1;
    return `${entries.length} class${one ? "" : "es"}${one ? "" : `, mostly ${entries[0][0]}`}`;
  }

  function drawBoxes(look, stage) {
    const boxes = look.prediction.boxes.slice().sort((a, b) => b.score - a.score);
    const [width, height] = look.size;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const tags = make("div");
    tags.setAttribute("aria-hidden", "true");
    stage.append(svg, tags);
    const list = make("ol", "rows");
    const best = boxes.length ? boxes[0].score : 0;
    // as in the drawings of predict: 0.5, or the best few if none reaches it
    const first = best >= 0.5 ? 0.5 : boxes.length ? Math.floor(100 * boxes[Math.min(2, boxes.length - 1)].score) / 100 : 0.5;
    const slider = addSlider("Lowest score", first, (least) => place(least));
    find("list").append(list);

    function place(least) {
      svg.replaceChildren(); tags.replaceChildren(); list.replaceChildren();
      const shown = boxes.filter((box) => box.score >= least).slice(0, 300);
      const parts = shown.map((box) => {
        const [x1, y1, x2, y2] = box.box;
        const colour = look.colours[box.label] || "#0072b2";
        const group = document.createElementNS(SVG, "g");
        for (const halo of [true, false]) {
          const rect = document.createElementNS(SVG, "rect");
          if (halo) rect.setAttribute("class", "halo"); else rect.setAttribute("stroke", colour);
          for (const [key, value] of Object.entries({ x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) })) rect.setAttribute(key, value);
          group.append(rect);
        }
        const tag = make("span", y1 / height < 0.06 ? "tag below" : "tag", `${box.label} ${box.score.toFixed(2)}`);
        tag.style.left = `${(100 * Math.min(x1, 0.9 * width)) / width}%`;
        tag.style.top = `${(100 * y1) / height}%`;
        tag.style.background = colour;
        tag.style.color = dark(colour) ? "#fff" : "#000";
        svg.prepend(group); // the best is on top
        tags.prepend(tag);
        const item = make("li");
        const button = make("button");
        const swatch = make("span", "swatch");
        swatch.style.background = colour;
        button.append(swatch, make("span", "name", box.label), make("span", "", box.score.toFixed(3)));
        button.title = `from ${Math.round(x1)}, ${Math.round(y1)} to ${Math.round(x2)}, ${Math.round(y2)} pixels`;
        item.append(button);
        list.append(item);
        return { group, tag, button };
      });
      const light = (one) => {
        for (const part of parts) {
          const away = one !== null && part !== one;
          part.group.setAttribute("class", away ? "faint" : one ? "lit" : "");
          part.tag.classList.toggle("faint", away);
        }
      };
      for (const part of parts) {
        for (const event of ["focus", "mouseenter"]) part.button.addEventListener(event, () => light(part));
        for (const event of ["blur", "mouseleave"]) part.button.addEventListener(event, () => light(null));
      }
      find("headline").textContent = counted(shown);
      find("picture").alt = `${look.prediction.id}: ${find("headline").textContent}`;
    }

    function counted(shown) {
      if (!shown.length) return boxes.length ? `No box of ${slider.value} or more` : "No boxes";
      const counts = new Map();
      for (const box of shown) counts.set(box.label, (counts.get(box.label) || 0) + 1);
      const names = [...counts].sort((a, b) => b[1] - a[1]);
      const text = names.slice(0, 4).map(([name, count]) => `${name} × ${count}`).join(", ");
      return names.length > 4 ? `${text} and ${names.length - 4} more classes` : text;
    }

    place(first);
    return find("headline").textContent;
  }

  function drawTable(row) {
    const table = make("table");
    const body = make("tbody");
    for (const [key, value] of Object.entries(row)) {
      const line = make("tr");
      const head = make("th", "", key);
      head.scope = "row";
      line.append(head, make("td", "", typeof value === "object" ? JSON.stringify(value) : String(value)));
      body.append(line);
    }
    table.append(body);
    find("list").append(table);
    return "Prediction";
  }

  function addLayer(stage, source, name) {
    const layer = make("img", "layer");
    layer.alt = "";
    layer.src = source;
    stage.append(layer);
    addSlider(name, 1, (value) => { layer.style.opacity = value; });
  }

  // Grad-CAM of a class, computed when it is asked for
  function addExplanation(look, file, stage) {
    const row = look.prediction;
    const names = row.boxes ? [...new Set(row.boxes.map((box) => box.label))]
      : Object.keys(row.scores || row.shares || {}).filter((name) => !row.shares || row.shares[name] > 0);
    if (!names.length) return;
    const line = make("p");
    const label = make("label", "", "Where is it seen?");
    const select = make("select");
    select.append(new Option("not shown", ""));
    for (const name of names.slice(0, 300)) select.append(new Option(name, name));
    label.append(select);
    line.append(make("span", "soft"));
    find("controls").append(label, line);
    select.addEventListener("change", async () => {
      const mine = asked;
      const name = select.value;
      stage.querySelectorAll(".heat").forEach((old) => old.remove());
      stage.classList.toggle("grey", Boolean(name));
      line.firstChild.textContent = name ? "Computing …" : "";
      if (!name) return;
      let text = "";
      try {
        const found = await (await send("/explain", file, { label: name })).json();
        if (mine !== asked || name !== select.value) return;
        const layer = make("img", "layer heat");
        layer.alt = "";
        layer.src = found.layer;
        stage.append(layer);
        const what = found.box ? "the best box of " : "";
        text = `Grad-CAM of ${what}${found.label}: bright where it was found, ${time(found.seconds)}.`;
      } catch (error) {
        text = error.message;
        stage.classList.remove("grey");
      }
      if (mine === asked && name === select.value) line.firstChild.textContent = text;
    });
  }

  function addSlider(name, value, change) {
    const label = make("label", "", name);
    const slider = make("input");
    const output = make("output", "", value.toFixed(2));
    Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.01, value });
    slider.addEventListener("input", () => {
      output.textContent = Number(slider.value).toFixed(2);
      change(Number(slider.value));
    });
    label.append(slider, output);
    find("controls").append(label);
    return slider;
  }

  function addMore(rest, add) {
    if (!rest.length) return;
    const button = make("button", "more", `${rest.length} more`);
    button.addEventListener("click", () => { rest.forEach(add); button.remove(); });
    find("list").append(button);
  }

  function dark(colour) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue <= 140;
  }

  const input = find("file");
  const drop = find("drop");
  input.addEventListener("change", () => { if (input.files.length) show(input.files[0]); input.value = ""; });
  for (const event of ["dragenter", "dragover"]) {
    document.addEventListener(event, (e) => { e.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    drop.classList.remove("over");
    if (e.dataTransfer.files.length) show(e.dataTransfer.files[0]);
    else find("error").textContent = "That is no file: save the picture first, then drop it here.";
  });
  document.addEventListener("paste", (e) => {
    const files = [...e.clipboardData.files];
    if (files.length) show(files[0]);
    else find("error").textContent = "The clipboard holds no picture.";
  });
})();
