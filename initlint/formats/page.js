"use strict";
// Click a heading to sort its table. The page reads the same with scripts off.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const upward = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", upward ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].firstChild?.textContent ?? "";
      const rows = Array.from(body.rows, (row, index) => ({ row, index, key: key(row) }));
      rows.sort((a, b) => {
        if ((a.key === "") !== (b.key === "")) return a.key === "" ? 1 : -1;
        const [x, y] = [Number(a.key), Number(b.key)];
        const order = Number.isNaN(x) || Number.isNaN(y) ? a.key.localeCompare(b.key, "en", { numeric: true }) : x - y;
        return (upward ? order : -order) || a.index - b.index;
      });
      body.append(...rows.map((item) => item.row));
    });
  });
}
