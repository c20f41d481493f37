# Makes dispersion_spatstat.json: spatstat's functions of distance of 120 points on a 3 x 2 rectangle, the same of those
# in an L-shaped part of it, and Clark and Evans' index (spatstat.explore 3.0-6).
# Run in this folder: Rscript dispersion_spatstat.R
suppressMessages(library(spatstat.explore))
set.seed(7)
X <- spatstat.geom::ppp(3 * runif(120), 2 * runif(120), window = spatstat.geom::owin(c(0, 3), c(0, 2)))
r <- seq(0, 0.5, length.out = 513)
keep <- seq(1, 513, by = 32)
K <- Kest(X, r = r, correction = c("border", "isotropic", "translation"), ratio = FALSE)
g <- pcf(X, r = r, correction = c("isotropic", "translate"), divisor = "d")
G <- Gest(X, r = r, correction = "rs")
F <- Fest(X, r = r, correction = "rs", eps = 0.005)
J <- Jest(X, r = r, correction = "rs", eps = 0.005)
L <- spatstat.geom::owin(poly = list(x = c(0, 3, 3, 1, 1, 0), y = c(0, 0, 2, 2, 1, 1)))
Y <- X[L]
KL <- Kest(Y, r = r, correction = c("border", "translation"), ratio = FALSE)
GL <- Gest(Y, r = r, correction = "rs")
say <- function(name, v) sprintf('"%s": [%s]', name, paste(ifelse(is.finite(v), sprintf("%.10g", v), "null"), collapse = ", "))
cat("{", paste(c(say("x", X$x), say("y", X$y), say("r", r[keep]), say("K_border", K$border[keep]),
  say("K_isotropic", K$iso[keep]), say("K_translation", K$trans[keep]), say("g_isotropic", g$iso[keep]),
  say("g_translation", g$trans[keep]), say("G", G$rs[keep]), say("F", F$rs[keep]), say("J", J$rs[keep]),
  say("part_K_border", KL$border[keep]), say("part_K_translation", KL$trans[keep]), say("part_G", GL$rs[keep]),
  say("part_n", spatstat.geom::npoints(Y)),
  say("clark_evans", clarkevans(X, correction = "Donnelly"))), collapse = ",\n"), "}\n", sep = "",
  file = "dispersion_spatstat.json")
