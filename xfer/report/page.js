"use strict";
(() => {
  const all = (words, root = document) => [...root.querySelectorAll(words)];
  const make = (name, text, look) => {
    const one = document.createElement(name);
    if (text) one.textContent = text;
    if (look) one.className = look;
    return one;
  };

  // tables that a click on a heading sorts: numbers fall first, names rise first
  for (const table of all("table.sorts")) {
    all("thead th", table).forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => {
        const body = table.tBodies[0];
        const value = (row) => {
          const cell = row.cells[place];
          return "by" in cell.dataset ? Number(cell.dataset.by) : cell.textContent.trim();
        };
        const rows = [...body.rows];
        const numbers = rows.some((row) => typeof value(row) === "number");
        const first = numbers ? "descending" : "ascending";
        const was = head.getAttribute("aria-sort");
        const now = was === first ? (numbers ? "ascending" : "descending") : first;
        const sign = now === "ascending" ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (typeof x === "number" && typeof y === "number") return sign * (x - y);
          return sign * String(x).localeCompare(String(y), undefined, { numeric: true });
        });
        body.append(...rows);
        all("thead th", table).forEach((one) => one.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", now);
      });
    });
  }

  // the confusion matrix: a cell shows its pictures; arrow keys move between cells
  const matrix = document.querySelector("table.matrix");
  const place = document.getElementById("cell");
  const held = document.getElementById("cells");
  if (matrix && place && held) {
    const cells = JSON.parse(held.textContent);
    let pressed = null;
    const close = () => {
      place.hidden = true;
      place.replaceChildren();
      if (pressed) {
        pressed.setAttribute("aria-pressed", "false");
        pressed.focus();
      }
      pressed = null;
    };
    const show = (button) => {
      if (pressed) pressed.setAttribute("aria-pressed", "false");
      pressed = button;
      button.setAttribute("aria-pressed", "true");
      const head = make("div", "", "head");
      head.append(make("h3", button.getAttribute("aria-label")));
      const shut = make("button", "Close", "plain");
      shut.type = "button";
      shut.addEventListener("click", close);
      head.append(shut);
      const grid = make("div", "", "grid");
      const names = make("ul", "", "names");
      for (const [number, name] of cells[button.dataset.cell] || []) {
        const figure = number && document.getElementById(`p${number}`);
        if (figure) {
          const copy = figure.cloneNode(true);
          copy.removeAttribute("id");
          all("[id]", copy).forEach((one) => one.removeAttribute("id"));
          grid.append(copy);
        } else {
          names.append(make("li", name));
        }
      }
      place.replaceChildren(head, grid);
      if (names.children.length) {
        if (grid.children.length) place.append(make("p", "Further files, not in this page:", "note"));
        else place.append(make("p", "Files (their pictures are not in this page):", "note"));
        place.append(names);
      }
      place.hidden = false;
    };
    matrix.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-cell]");
      if (button) button === pressed ? close() : show(button);
    });
    place.addEventListener("keydown", (event) => event.key === "Escape" && close());
    matrix.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && pressed) return close();
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const move = moves[event.key];
      const cell = event.target.closest("td");
      if (!move || !cell) return;
      event.preventDefault();
      let [row, column] = [cell.parentNode.rowIndex + move[0], cell.cellIndex + move[1]];
      while (matrix.rows[row] && row > 0 && column > 0 && matrix.rows[row].cells[column]) {
        const next = matrix.rows[row].cells[column].querySelector("button");
        if (next) {
          all("button", matrix).forEach((one) => one.setAttribute("tabindex", "-1"));
          next.setAttribute("tabindex", "0");
          return next.focus();
        }
        row += move[0];
        column += move[1];
      }
    });
  }

  // values of a chart under the pointer
  for (const chart of all("svg[data-chart]")) {
    const data = JSON.parse(chart.dataset.chart);
    const [left, right, low, high] = data.frame;
    const box = make("div", "", "readout");
    box.hidden = true;
    chart.parentNode.append(box);
    const rule = document.createElementNS("http://www.w3.org/2000/svg", "line");
    rule.setAttribute("class", "marker");
    rule.setAttribute("y1", 12);
    rule.setAttribute("y2", chart.viewBox.baseVal.height - 36);
    chart.addEventListener("pointermove", (event) => {
      const area = chart.getBoundingClientRect();
      const at = ((event.clientX - area.left) / area.width) * chart.viewBox.baseVal.width;
      if (at < left || at > right) return;
      const x = low + ((at - left) / (right - left)) * (high - low);
      let shown = x;
      const words = data.lines.map((line) => {
        let best = null;
        for (const point of line.points)
          if (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
        if (!best) return "";
        shown = best[0];
        return `${line.name} ${best[1]}`;
      });
      box.textContent = `${data.x} ${shown}: ${words.filter(Boolean).join(", ")}`;
      const where = left + ((shown - low) / (high - low)) * (right - left);
      rule.setAttribute("x1", where);
      rule.setAttribute("x2", where);
      chart.append(rule);
      box.hidden = false;
    });
    chart.addEventListener("pointerleave", () => {
      box.hidden = true;
      rule.remove();
    });
  }
})();
