# DeLong's AUCs, variances, covariance and p of two paired scores, as R's pROC gives them. Reads a CSV with label, a, b; prints JSON.
suppressMessages(library(pROC))
table <- read.csv(commandArgs(trailingOnly = TRUE)[1])
a <- roc(table$label, table$a, direction = "<", quiet = TRUE)
b <- roc(table$label, table$b, direction = "<", quiet = TRUE)
values <- c(auc_a = auc(a), auc_b = auc(b), variance_a = var(a), variance_b = var(b), covariance = cov(a, b),
            p = roc.test(a, b, method = "delong")$p.value)
cat("{", paste(sprintf('"%s": %.15g', names(values), values), collapse = ", "), "}\n", sep = "")
