/** The greatest delay that a timer takes, in milliseconds: longer ones fire at once. */
export const LONGEST = 2 ** 31 - 1;
