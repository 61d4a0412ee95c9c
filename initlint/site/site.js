// Search by words over the names of all models. The pages read the same with scripts off.
const field = document.querySelector(".search");
if (field && window.models) {
  const verdicts = { r: "refused", e: "error", w: "warning", n: "note", o: "ok" };
  const input = field.querySelector("input");
  const hits = document.getElementById("hits");
  const most = 50;
  field.hidden = false;
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits.hidden = words.length === 0;
    hits.replaceChildren();
    if (words.length === 0) return;
    let found = 0;
    for (const [name, page, letter] of window.models) {
      const text = `${name.toLowerCase()} ${verdicts[letter]}`;
      if (!words.every((word) => text.includes(word))) continue;
      found += 1;
      if (found > most) continue;
      const link = document.createElement("a");
      link.href = `${document.body.dataset.up}model/${page}.html`;
      link.textContent = name;
      const badge = document.createElement("span");
      badge.className = `badge ${verdicts[letter]}`;
      badge.textContent = verdicts[letter];
      const item = document.createElement("li");
      item.append(badge, " ", link);
      hits.append(item);
    }
    const last = document.createElement("li");
    last.className = "soft";
    last.textContent = found > most ? `and ${found - most} more` : found === 0 ? "no model of that name" : `${found} found`;
    hits.append(last);
  };
  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const first = hits.querySelector("a");
    if (event.key === "Enter" && first) first.click();
    if (event.key === "Escape") { input.value = ""; show(); }
  });
  // A search can be linked to: index.html#search=words
  const linked = () => {
    const asked = new URLSearchParams(location.hash.slice(1)).get("search");
    if (asked !== null) input.value = asked;
    show();
  };
  addEventListener("hashchange", linked);
  linked();
}
