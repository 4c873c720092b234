// The rule book's search: a row stays where all words that are typed occur in it.
document$.subscribe(() => {
  const search = document.getElementById("rule-search");
  if (!search) return;
  const rows = [...document.querySelectorAll("#rules tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const sift = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      left += !row.hidden;
    });
    document.getElementById("rule-count").textContent = words.length ? `${left} left` : "";
  };
  search.addEventListener("input", sift);
  sift();
});
