/** Errors as values, so that they can be compared whole. */

/**
 * The error that a function throws.
 *
 * @param {() => unknown} fn what should throw
 * @returns {any} what it threw
 */
export function thrownBy(fn) {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/**
 * The error that a promise rejects with.
 *
 * @param {Promise<unknown>} promise what should reject
 * @returns {Promise<any>} what it rejected with
 */
export function rejectionOf(promise) {
  return promise.then(
    () => {
      throw new Error("the promise resolved");
    },
    (error) => error,
  );
}
