// Adds a package of the search results to the list, without loading the page again.
"use strict";

document.body.addEventListener("click", (event) => {
  const button = event.target.closest("button[name=add]");
  const packages = document.getElementById("packages");
  if (!button || !packages) return;
  event.preventDefault();
  const version = button.closest("li").querySelector("select").value;
  const line = version ? `${button.value}=${version}` : button.value;
  const others = packages.value.split("\n").filter((each) => each.trim() && each.split("=")[0].trim() !== button.value);
  packages.value = [...others, line].join("\n");
  button.firstChild.textContent = "Added ";
  setTimeout(() => { button.firstChild.textContent = "Add "; }, 1500);
});
document.getElementById("q")?.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault();  // the search runs while the user types
});
