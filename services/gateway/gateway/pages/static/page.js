// Small helps of every page: buttons that copy, tables that sort. Without this file, the pages work the same.
"use strict";

function addCopyButtons(root) {
  for (const code of root.querySelectorAll(".copy:not([data-copies])")) {
    code.dataset.copies = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "mini quiet";
    const word = document.createTextNode("Copy");
    const what = document.createElement("span");
    what.className = "hidden";
    what.textContent = " " + code.textContent.trim().slice(0, 60);
    button.append(word, what);
    button.addEventListener("click", async () => {
      const text = code.textContent.trim();
      try {
        await navigator.clipboard.writeText(text);
        word.textContent = "Copied";
      } catch {  // no clipboard on pages without TLS: select the text instead
        getSelection().selectAllChildren(code);
        word.textContent = "Selected";
      }
      setTimeout(() => { word.textContent = "Copy"; }, 2000);
    });
    if (code.tagName === "PRE") {
      const frame = document.createElement("div");
      frame.className = "copied";
      code.replaceWith(frame);
      frame.append(code, button);
    } else code.after(button);
  }
}

function sortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = new Intl.Collator("en", { numeric: true }).compare;
      const rows = [...table.tBodies[0].rows].sort((a, b) => order(value(a), value(b)) * (descending ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}

addCopyButtons(document);
document.querySelectorAll("table.sortable").forEach(sortable);
document.body.addEventListener("htmx:afterSettle", () => addCopyButtons(document));
