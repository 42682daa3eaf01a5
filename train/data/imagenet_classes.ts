/** Names of ImageNet's 1000 classes: the numbers of their synsets, and what WordNet calls these. @module */

import text from "./imagenet_classes.txt" with { type: "text" };

/** One class. */
export interface ImagenetClass {
  /** Number of its synset, such as "n02099601". */
  readonly synset: string;
  /** What WordNet 3.0 calls it, the usual name first. */
  readonly names: readonly string[];
}

/** The classes by their numbers: the rank of the synset. */
export const IMAGENET_CLASSES: readonly ImagenetClass[] = text.trim().split("\n").map((line) => {
  const synset = line.slice(0, line.indexOf(" "));
  return { synset, names: line.slice(synset.length + 1).split(", ") };
});

const BY_SYNSET: ReadonlyMap<string, ImagenetClass> = new Map(
  IMAGENET_CLASSES.map((entry) => [entry.synset, entry]),
);

/**
 * Gives further names of a model's classes, where these are ImageNet's: a class of it is known by its synset, or in a model without
 * names of 1000 classes by its number.
 *
 * @param classNames Names that the model came with, in the order of the classes.
 * @returns For each class, what WordNet calls it; nothing for others.
 */
export function imagenetNames(classNames: readonly string[]): readonly (readonly string[])[] {
  const numbered = classNames.length === IMAGENET_CLASSES.length &&
    classNames.every((name, label) => name === String(label));
  return classNames.map((name, label) => {
    const entry = numbered ? IMAGENET_CLASSES[label] : BY_SYNSET.get(name);
    if (!entry) return [];
    return numbered ? [entry.synset, ...entry.names] : entry.names;
  });
}
