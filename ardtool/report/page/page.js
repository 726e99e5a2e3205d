"use strict";
(() => {
  // tables are sorted by the column whose heading is pressed; empty cells stay last
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "descending" : ["rank", "axis", "was", "state"].includes(head.dataset.key);
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value;
        const compare = (a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
          return rising ? order : -order;
        };
        table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
      });
    });
  }

  // the slider shows one of the pictures
  const slider = document.getElementById("k");
  if (slider) {
    const pictures = [...document.getElementById("by-k").children];
    const show = () => {
      pictures.forEach((each, index) => { each.hidden = index !== Number(slider.value); });
      const k = pictures[slider.value].dataset.k;
      document.querySelectorAll("#k-shown, .k-shown").forEach((each) => { each.textContent = k; });
      slider.setAttribute("aria-valuetext", k);
    };
    slider.addEventListener("input", show);
    show();
  }

  // marks of charts say their numbers
  const tip = document.getElementById("tip");
  const say = (mark) => {
    const box = mark.getBoundingClientRect();
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const left = Math.min(window.scrollX + box.left, window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(window.scrollX + 4, left)}px`;
    tip.style.top = `${Math.max(window.scrollY, window.scrollY + box.top - tip.offsetHeight - 6)}px`;
  };
  const hush = () => { tip.hidden = true; };
  for (const mark of document.querySelectorAll("[data-tip]")) {
    mark.querySelector("title")?.remove();
    mark.addEventListener("mouseenter", () => say(mark));
    mark.addEventListener("focus", () => say(mark));
    mark.addEventListener("mouseleave", hush);
    mark.addEventListener("blur", hush);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });
})();
