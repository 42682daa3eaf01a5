/** Resources that wait for reuse. @module */

/**
 * Resources by size, of which the one that came first of all is always taken first. What code takes then depends on which resources are
 * there, not on the order in which they came back; so a step that takes and gives back as the step before gets the same resources for
 * the same uses, and bind groups of that step serve again. To make one costs a host as much as ten dispatches.
 */
export class FreeList<Resource extends object> {
  readonly #numbers = new WeakMap<Resource, number>();
  readonly #lists = new Map<number, Resource[]>();
  #next = 0;

  /**
   * Adds a resource.
   *
   * @param size Its size.
   * @param resource The resource.
   */
  put(size: number, resource: Resource): void {
    let number = this.#numbers.get(resource);
    if (number === undefined) this.#numbers.set(resource, number = this.#next++);
    const list = this.#lists.get(size);
    if (!list) {
      this.#lists.set(size, [resource]);
      return;
    }
    // The last is taken first.
    let at = list.length;
    while (at > 0 && this.#numbers.get(list[at - 1]!)! < number) at--;
    list.splice(at, 0, resource);
  }

  /**
   * Takes a resource.
   *
   * @param size Exactly this size.
   * @returns The first that came, or undefined.
   */
  take(size: number): Resource | undefined {
    const list = this.#lists.get(size);
    const resource = list?.pop();
    if (list?.length === 0) this.#lists.delete(size);
    return resource;
  }

  /**
   * Looks for resources.
   *
   * @param size Exactly this size.
   * @returns Whether there is one.
   */
  has(size: number): boolean {
    return this.#lists.has(size);
  }

  /** Sizes of which there are resources. */
  get sizes(): Iterable<number> {
    return this.#lists.keys();
  }
}
