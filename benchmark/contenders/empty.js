// A limit for imports: a module with nothing in it.

export const version = "";
