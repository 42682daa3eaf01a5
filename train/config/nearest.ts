/** Finds the word that someone who mistyped probably meant. @module */

/** Cost of a letter that was left out, next to 1 for a wrong or an extra one: words are abbreviated more than extended. */
const OMISSION_COST = 0.25;

/** Cost of turning what was typed into a candidate. */
function editCost(typed: string, candidate: string): number {
  let row = Array.from({ length: candidate.length + 1 }, (_, column) => column * OMISSION_COST);
  for (let i = 0; i < typed.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < candidate.length; j++) {
      const replaced = (row[j] ?? 0) + (typed[i] === candidate[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + OMISSION_COST));
    }
    row = next;
  }
  return row[candidate.length] ?? 0;
}

/**
 * The most similar of some words.
 *
 * @param typed What was typed.
 * @param candidates What would have been right.
 * @returns The nearest candidate, the first of equals; undefined if there is none.
 */
export function nearest(typed: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let smallest = Infinity;
  for (const candidate of candidates) {
    const cost = editCost(typed, candidate);
    if (cost < smallest) [best, smallest] = [candidate, cost];
  }
  return best;
}
