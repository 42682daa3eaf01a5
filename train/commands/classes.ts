/** Classes as a command line names them. @module */

import { imagenetNames } from "../data/imagenet_classes.ts";
import { UserError } from "../errors.ts";

/** Names in a message, before it says how many more there are. */
const NAMES_SHOWN = 20;

/**
 * Tells whether a text names all classes at once.
 *
 * @param text What the command line says.
 * @returns Whether it says nothing, "all" or, as in the reference, "imagenet".
 */
export function isEveryClass(text: string | undefined): boolean {
  return text === undefined || text === "all" || text === "imagenet";
}

/**
 * Reads a list of classes.
 *
 * @param text Names or numbers separated by commas; all where {@linkcode isEveryClass} says so. Where the classes are
 * ImageNet's, the numbers of synsets and WordNet's names will do as well, in capitals or not.
 * @param classNames Names of the classes that exist.
 * @returns Their numbers, in the order of the list.
 * @throws {UserError} If a class does not exist, or a name is that of several.
 */
export function selectClasses(text: string | undefined, classNames: readonly string[]): number[] {
  if (text === undefined || isEveryClass(text)) {
    return classNames.map((_, label) => label);
  }
  const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
  if (parts.length === 0) {
    throw new UserError(`Cannot sample: expected class names or numbers, found "${text}"`);
  }
  const further = imagenetNames(classNames);
  return parts.map((part) => {
    const named = classNames.indexOf(part);
    const label = named >= 0 ? named : /^\d+$/.test(part) ? Number(part) : -1;
    if (label >= 0 && label < classNames.length) return label;
    const lower = part.toLowerCase();
    const labels = [...further.entries()]
      .filter(([, names]) => names.some((name) => name.toLowerCase() === lower))
      .map(([label]) => label);
    const [only, ...others] = labels;
    if (only !== undefined && others.length === 0) return only;
    if (only !== undefined) {
      throw new UserError(
        `Cannot sample class ${part}: expected the name of one class, found that of ${
          labels.map((label) => `${label} (${further[label]?.join(", ")})`).join(" and ")
        }`,
      );
    }
    throw new UserError(
      `Cannot sample class ${part}: expected a number from 0 to ${
        classNames.length - 1
      } or one of ${listed(classNames)}`,
    );
  });
}

/**
 * Names a class for people.
 *
 * @param label Its number.
 * @param classNames Names of the classes.
 * @returns Its name; for ImageNet's classes the number and WordNet's usual name.
 */
export function classTitle(label: number, classNames: readonly string[]): string {
  const usual = imagenetNames(classNames)[label]?.find((name) => !/^n\d{8}$/.test(name));
  return usual === undefined ? classNames[label] ?? String(label) : `${label} ${usual}`;
}

function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  return names.slice(0, NAMES_SHOWN).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
