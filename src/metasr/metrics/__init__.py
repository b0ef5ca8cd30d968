"""How one number is made: PSNR, SSIM, kernel scores, registration."""
