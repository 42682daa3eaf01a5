/** Finds the word that someone who mistyped probably meant. @module */

/** Number of insertions, deletions and replacements that turn one text into another. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/**
 * The most similar of some words.
 *
 * @param word What was typed.
 * @param candidates What would have been right.
 * @returns The nearest candidate, the first of equals; undefined if there is none.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let smallest = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < smallest) [best, smallest] = [candidate, distance];
  }
  return best;
}
