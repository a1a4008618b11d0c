/**
 * The addon itself. Its functions are not part of the API and change from version to version: this entry point is for
 * programs that load the addon in their own way, and put a module with the same default export in its place.
 */
declare const addon: object;
export default addon;
